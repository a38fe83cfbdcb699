"""How a keyholder's answers to one question are written and sealed, group by group.

Relies on a `ContentCipher` for one question: it binds every part to its place, so that none can be left out, exchanged
or repeated.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hefed.crypto import packing
from hefed.crypto.buffer import Buffer, Written
from hefed.crypto.keys import Subset
from hefed.crypto.parameters import MAX_KEYHOLDERS, MAX_SUBSETS, Profile
from hefed.protocol import codec
from hefed.protocol.errors import ProtocolError
from hefed.protocol.sealing import CONTENT_TAG, ContentCipher

_LENGTH = struct.Struct("<I")

_Keyholders = Annotated[list[Annotated[int, Field(ge=0, lt=MAX_KEYHOLDERS)]], Field(max_length=MAX_KEYHOLDERS)]
_Digest = Annotated[bytes, Field(min_length=32, max_length=32)]


class _Hash(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: _Keyholders
    digest: _Digest


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    answers: Annotated[list[_Keyholders], Field(max_length=MAX_SUBSETS)]
    hashes: Annotated[list[_Hash], Field(max_length=MAX_SUBSETS)]


def most_bytes(sets: int, keyholders: int, profile: Profile, values: int) -> int:
    """What sealed answers of one keyholder can have at most: for each set that it holds an answer for so many values
    and as much of the header as a hash needs, in which the set names so many keyholders at most.
    """
    return 128 + sets * (_sealed_size(profile, values) + 64 + 2 * keyholders)


def _sealed_size(profile: Profile, values: int) -> int:
    sizes = packing.group_sizes(profile, values)
    return sum(sizes) + CONTENT_TAG * len(sizes)


def write_answers(
    cipher: ContentCipher,
    profile: Profile,
    values: int,
    full: Sequence[tuple[Subset, Iterable[Buffer]]],
    hashes: Sequence[tuple[Subset, bytes]],
) -> bytes:
    """The length of the sealed header (u32, little-endian), the header in CBOR, sealed as part 0, and the answers one
    after another, each group sealed as the next part.

    Answers come in the groups of `packing.group_sizes`; only one group at a time need be there in the clear.
    """
    header = _Header(
        answers=[list(subset) for subset, _ in full],
        hashes=[_Hash(share=list(subset), digest=digest) for subset, digest in hashes],
    )
    encoded = codec.encode(header.model_dump())
    begin = _LENGTH.size + len(encoded) + CONTENT_TAG
    written = Written(begin + len(full) * _sealed_size(profile, values))
    sealed = written.array()
    sealed[: _LENGTH.size] = np.frombuffer(_LENGTH.pack(begin - _LENGTH.size), np.uint8)
    cipher.seal_into(0, encoded, sealed[_LENGTH.size : begin])
    number, sizes = 1, packing.group_sizes(profile, values)
    for _, groups in full:
        for size, group in zip(sizes, groups, strict=True):
            end = begin + size + CONTENT_TAG
            cipher.seal_into(number, group, sealed[begin:end])
            number, begin = number + 1, end
    del sealed
    return written.taken()


def read_answers(
    cipher: ContentCipher, profile: Profile, values: int, sealed: Buffer
) -> tuple[dict[Subset, Iterator[Buffer]], dict[Subset, bytes]]:
    """The answers, in groups that are opened when they are asked for, and the hashes. A group stands only until the
    next is asked for.

    Raises ProtocolError for any other form or length, SealError for what was sealed otherwise: the header at once, a
    group when it is asked for.
    """
    view = memoryview(sealed)
    if len(view) < _LENGTH.size:
        raise ProtocolError("share answers that do not have their form")
    begin = _LENGTH.size + int(_LENGTH.unpack_from(view)[0])
    encoded = cipher.open(0, view[_LENGTH.size : begin])
    try:
        header = _Header.model_validate(codec.decode(encoded))
    except ValidationError as error:
        raise ProtocolError("share answers that do not have their form") from error
    subsets = [tuple(subset) for subset in header.answers]
    hashes = {tuple(item.share): item.digest for item in header.hashes}
    size = _sealed_size(profile, values)
    if len(view) != begin + size * len(subsets) or len({*subsets, *hashes}) != len(subsets) + len(header.hashes):
        raise ProtocolError("share answers of a wrong length, or two for one share")
    sizes = packing.group_sizes(profile, values)
    answers = {
        subset: _opened(cipher, view[begin + i * size : begin + (i + 1) * size], 1 + i * len(sizes), sizes)
        for i, subset in enumerate(subsets)
    }
    return answers, hashes


def _opened(cipher: ContentCipher, sealed: memoryview, number: int, sizes: list[int]) -> Iterator[Buffer]:
    group, begin = np.empty(max(sizes), np.uint8), 0
    for i, size in enumerate(sizes):
        end = begin + size + CONTENT_TAG
        cipher.open_into(number + i, sealed[begin:end], group[:size])
        yield group[:size].data.toreadonly()
        begin = end
