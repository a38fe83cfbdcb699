"""The form of sealed answers: every part in its place, and no other form."""

import secrets
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.crypto import packing
from hefed.crypto.buffer import Buffer
from hefed.crypto.keys import Subset, subsets
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES, Profile
from hefed.protocol import codec
from hefed.protocol.answers import most_bytes, read_answers, write_answers
from hefed.protocol.errors import ProtocolError, SealError
from hefed.protocol.sealing import CONTENT_TAG, ContentCipher

KEY = secrets.token_bytes(32)
CIPHER = ContentCipher(KEY, ("context",))
FULL: list[Subset] = [(0, 1), (0, 2)]
HASHES = [((1, 2), bytes(range(32)))]
VALUES = 2 * packing.group_values(COMPACT) + 3


def _packed(profile: Profile, values: int, count: int) -> list[bytes]:
    return [secrets.token_bytes(profile.packed_size(values)) for _ in range(count)]


def _write(profile: Profile, values: int, answers: list[bytes], cipher: ContentCipher = CIPHER) -> bytes:
    full = [(subset, packing.in_groups(profile, packed)) for subset, packed in zip(FULL, answers, strict=True)]
    return write_answers(cipher, profile, values, full, HASHES)


def _read(
    sealed: Buffer, cipher: ContentCipher = CIPHER, values: int = VALUES
) -> tuple[dict[Subset, bytes], dict[Subset, bytes]]:
    answers, hashes = read_answers(cipher, COMPACT, values, bytes(sealed))
    return {subset: b"".join(bytes(group) for group in groups) for subset, groups in answers.items()}, hashes


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("values", [1, 5, 32, 32_767, 32_768, 32_769, 70_000])
def test_answers_come_back_as_they_were_written(profile: Profile, values: int) -> None:
    packed = _packed(profile, values, 2)
    answers, hashes = read_answers(CIPHER, profile, values, _write(profile, values, packed))
    assert [b"".join(bytes(group) for group in groups) for groups in answers.values()] == packed
    assert (list(answers), hashes) == (FULL, dict(HASHES))


def _parts(sealed: bytes, values: int) -> list[bytes]:
    """The length, and every sealed part."""
    begin = 4 + int.from_bytes(sealed[:4], "little")
    parts, sizes = [sealed[:4], sealed[4:begin]], packing.group_sizes(COMPACT, values)
    for size in 2 * sizes:
        parts.append(sealed[begin : begin + size + CONTENT_TAG])
        begin += size + CONTENT_TAG
    assert begin == len(sealed)
    return parts


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return _write(COMPACT, VALUES, _packed(COMPACT, VALUES, 2))


def test_a_part_in_another_place_does_not_open(sealed: bytes) -> None:
    """All parts of equal length, one for the other: within an answer, between answers, and one twice."""
    parts = _parts(sealed, VALUES)
    assert len(parts) == 2 + 2 * 3
    assert _read(b"".join(parts)) == _read(sealed)
    for i in range(2, len(parts)):
        for j in range(2, len(parts)):
            if i != j and len(parts[i]) == len(parts[j]):
                repeated = list(parts)
                repeated[i] = parts[j]
                exchanged = list(repeated)
                exchanged[j] = parts[i]
                for other in (repeated, exchanged):
                    with pytest.raises(SealError):
                        _read(b"".join(other))


def test_a_part_that_is_missing_or_too_many_is_refused(sealed: bytes) -> None:
    parts = _parts(sealed, VALUES)
    for i in range(len(parts)):
        for other in (parts[:i] + parts[i + 1 :], parts[: i + 1] + parts[i:], parts[:i]):
            with pytest.raises(ProtocolError):
                _read(b"".join(other))
    for data in (b"", sealed[:3], sealed[:-1], sealed + b"\0", sealed[4:]):
        with pytest.raises(ProtocolError):
            _read(data)


@given(st.data())
def test_no_byte_can_be_altered(data: st.DataObject) -> None:
    """The whole is read, and nothing comes out that was not put in."""
    values = packing.group_values(COMPACT) + 1
    packed = _packed(COMPACT, values, 2)
    sealed = bytearray(_write(COMPACT, values, packed))
    place = data.draw(
        st.integers(0, len(sealed) - 1) | st.integers(0, 200) | st.integers(len(sealed) - 60, len(sealed) - 1)
    )
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        _read(sealed, values=values)


def test_parts_of_another_context_key_or_length_do_not_open(sealed: bytes) -> None:
    """A whole attachment, and a single part of one with the same number."""
    packed = _packed(COMPACT, VALUES, 2)
    for cipher in (ContentCipher(KEY, ("other",)), ContentCipher(secrets.token_bytes(32), ("context",))):
        with pytest.raises(SealError):
            _read(sealed, cipher)
        other = _parts(_write(COMPACT, VALUES, packed, cipher), VALUES)
        for i in range(1, len(other)):
            mixed = _parts(sealed, VALUES)
            mixed[i] = other[i]
            with pytest.raises(SealError):
                _read(b"".join(mixed))
    for values in (1, VALUES - 1, VALUES + 1):
        with pytest.raises(ProtocolError):
            _read(sealed, values=values)


def test_a_group_that_does_not_open_comes_out_at_no_time(sealed: bytes) -> None:
    """The groups before it do, for they are authentic; the caller has to throw away what it made of them."""
    altered = bytearray(sealed)
    altered[-1] ^= 1
    answers, _ = read_answers(CIPHER, COMPACT, VALUES, bytes(altered))
    right, _ = read_answers(CIPHER, COMPACT, VALUES, sealed)
    assert [bytes(group) for group in answers[FULL[0]]] == [bytes(group) for group in right[FULL[0]]]
    seen = []
    with pytest.raises(SealError):
        seen.extend(bytes(group) for group in answers[FULL[1]])
    assert len(list(right[FULL[1]])) == 3 > len(seen)


_HOSTILE_HEADERS: list[Any] = [
    {"answers": [[float("inf")]], "hashes": []},
    {"answers": [[2**62]], "hashes": []},
    {"answers": [], "hashes": [{"share": [0], "digest": 2**40}]},
    {"answers": [], "hashes": [{"share": [0], "digest": b"short"}]},
    {"answers": [[True]], "hashes": []},
    {"answers": "all", "hashes": []},
    {"answers": []},
    [],
    {"answers": [[0], [0]], "hashes": []},
    {"answers": [[0]], "hashes": [{"share": [0], "digest": bytes(32)}]},
]


def _sealed_header(encoded: bytes, answers: int) -> bytes:
    """What a keyholder seals that is dishonest: any header, and parts that open."""
    sealed = np.empty(len(encoded) + CONTENT_TAG, np.uint8)
    CIPHER.seal_into(0, encoded, sealed)
    whole = len(sealed).to_bytes(4, "little") + sealed.tobytes()
    for number in range(1, answers + 1):
        part = np.empty(COMPACT.packed_size(8) + CONTENT_TAG, np.uint8)
        CIPHER.seal_into(number, bytes(part.size - CONTENT_TAG), part)
        whole += part.tobytes()
    return whole


@pytest.mark.parametrize("header", _HOSTILE_HEADERS)
def test_answers_of_another_form_are_a_typed_error(header: Any) -> None:
    for answers in range(3):
        with pytest.raises(ProtocolError):
            _read(_sealed_header(codec.encode(header), answers), values=8)


@given(st.binary(max_size=200))
def test_answers_of_any_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        _read(data, values=8)
    try:
        _read(_sealed_header(data, 0), values=8)
    except ProtocolError:
        return


@pytest.mark.parametrize("values", [1, 8, packing.group_values(PRECISE) + 1])
def test_all_answers_and_hashes_fit_into_their_bound(values: int) -> None:
    for keyholders, threshold in ((2, 2), (3, 2), (5, 3), (16, 2), (16, 3), (11, 6)):
        held = [subset for subset in subsets(keyholders, threshold) if keyholders - 1 not in subset]
        most = {0, 1, len(held)} if values <= 8 else {0, 1}
        for full in most:
            for profile in (COMPACT, PRECISE):
                packed = bytes(profile.packed_size(values))
                sealed = write_answers(
                    CIPHER,
                    profile,
                    values,
                    [(subset, packing.in_groups(profile, packed)) for subset in held[:full]],
                    [(subset, bytes(32)) for subset in held[full:]],
                )
                assert len(sealed) <= most_bytes(len(held), threshold - 1, profile, values)


def test_one_group_at_a_time_is_there_in_the_clear() -> None:
    """What a keyholder and a reader need beside what is sent: a few groups, whatever the length."""
    values = 20 * packing.group_values(COMPACT)
    group = COMPACT.packed_size(packing.group_values(COMPACT))
    made = [(subset, (bytes(group) for _ in range(20))) for subset in FULL]
    tracemalloc.start()
    try:
        sealed = write_answers(CIPHER, COMPACT, values, made, HASHES)
        assert len(sealed) <= tracemalloc.get_traced_memory()[1] <= len(sealed) + 6 * group
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        answers, _ = read_answers(CIPHER, COMPACT, values, sealed)
        assert sum(len(one) for groups in answers.values() for one in groups) == 2 * 20 * group
        assert tracemalloc.get_traced_memory()[1] - before <= 6 * group
    finally:
        tracemalloc.stop()


def test_a_cipher_tells_nothing_of_its_key() -> None:
    assert KEY.hex() not in repr(CIPHER)
    assert repr(CIPHER) == "ContentCipher(...)"
