"""`hefed.protocol.sealing` against every vector of what is sealed, to one recipient and in parts."""

import hashlib
from itertools import starmap

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from hefed.protocol.errors import SealError
from hefed.protocol.sealing import CONTENT_TAG, ContentCipher, SealingKey, seal
from protocols.reference.sealing import open_sealed
from tests.reference import make_sealed
from tests.reference.vectors import assert_bytes, context_of, read

SEALED, PARTS = read("sealed"), read("sealed_parts")


def key_of(case):
    return SealingKey(bytes.fromhex(SEALED["keys"][case["key"]]["secret"]))


def test_public_keys_follow_from_private_ones():
    for shown in SEALED["keys"].values():
        assert_bytes(SealingKey(bytes.fromhex(shown["secret"])).public, shown["public"])


@pytest.mark.parametrize("good", SEALED["good"], ids=lambda case: case["name"])
def test_what_was_sealed_opens(good):
    assert_bytes(key_of(good).open(bytes.fromhex(good["sealed"]), context_of(good)), good["plain"])


@pytest.mark.parametrize("bad", SEALED["bad"], ids=lambda case: case["name"])
def test_what_was_sealed_otherwise_or_altered_does_not_open(bad):
    assert bad["refused"] == "sealed"
    with pytest.raises(SealError):
        key_of(bad).open(bytes.fromhex(bad["sealed"]), context_of(bad))


def without_what_is_random(cases):
    """What a generator says of its cases, and the length of what is sealed."""
    return [{**case, "sealed": len(case["sealed"])} for case in cases]


def test_the_vectors_are_all_that_is_made():
    made = make_sealed.document()
    assert {name: shown for name, shown in made.items() if name not in ("good", "bad")} == {
        "suite": SEALED["suite"],
        "keys": SEALED["keys"],
    }
    for which in ("good", "bad"):
        assert without_what_is_random(made[which]) == without_what_is_random(SEALED[which])
    for case in made["good"]:  # with today's library as with the one that the vectors were made with
        opened = open_sealed(
            bytes.fromhex(made["keys"][case["key"]]["secret"]), bytes.fromhex(case["sealed"]), context_of(case)
        )
        assert hashlib.sha256(opened).hexdigest() == case["plain"]["sha256"]


def test_each_bad_one_differs_from_all_good_ones():
    def inputs(case):
        return case["key"], str(case["context"]), case["sealed"]

    assert not set(map(inputs, SEALED["bad"])) & set(map(inputs, SEALED["good"]))
    assert len(set(map(inputs, SEALED["bad"]))) == len(SEALED["bad"])


def test_what_is_sealed_by_hand_opens_unless_its_point_is_of_small_order():
    """The control of the case whose point is of small order: nothing else is wrong with it."""
    key = SealingKey(make_sealed.KEYS["one"])
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(key.public[-32:]))
    point = ephemeral.public_key().public_bytes_raw()
    good = make_sealed.sealed_by_hand(b"seeds", key.public, make_sealed.DEAL, point, shared)
    assert key.open(good, make_sealed.DEAL) == b"seeds"
    for small in (bytes(32), (1).to_bytes(32, "little")):
        bad = make_sealed.sealed_by_hand(b"seeds", key.public, make_sealed.DEAL, small)
        with pytest.raises(SealError):
            key.open(bad, make_sealed.DEAL)


def test_one_text_is_never_sealed_to_the_same_bytes():
    key = SealingKey(make_sealed.KEYS["one"])
    sealed = list(starmap(seal, [(b"seeds", key.public, make_sealed.DEAL)] * 2))
    assert sealed[0] != sealed[1]


# --- In parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS["parts"], ids=lambda part: part["number"])
def test_parts_are_sealed_and_open(part):
    cipher = ContentCipher(bytes.fromhex(PARTS["content_key"]), context_of(PARTS))
    number, plain, sealed = int(part["number"]), bytes.fromhex(part["plain"]), bytes.fromhex(part["sealed"])
    room, into = np.empty(len(plain) + CONTENT_TAG, np.uint8), np.empty(len(plain), np.uint8)
    cipher.seal_into(number, plain, room)
    assert room.tobytes() == sealed
    assert cipher.open(number, sealed) == plain
    cipher.open_into(number, sealed, into)
    assert into.tobytes() == plain


@pytest.mark.parametrize("bad", PARTS["bad"], ids=lambda case: case["name"])
def test_parts_of_another_place_or_use_or_altered_do_not_open(bad):
    assert bad["refused"] == "sealed"
    cipher, sealed = ContentCipher(bytes.fromhex(bad["content_key"]), context_of(bad)), bytes.fromhex(bad["sealed"])
    with pytest.raises(SealError):
        cipher.open(int(bad["number"]), sealed)
