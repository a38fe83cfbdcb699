"""The reference opens every vector of what is sealed, and refuses every bad one: with an HPKE of its own, so that this
says of hefed's that it is the suite that `protocols/messages.md` names.

Relies on the reference alone; must not import hefed.
"""

import hashlib
import json

import pytest

from protocols.reference.make_vectors import DIRECTORY
from protocols.reference.primitives import RefusedError
from protocols.reference.sealing import AEAD, KDF, KEM, SUITE, open_part, open_sealed, part_key

SEALED = json.loads((DIRECTORY / "sealed.json").read_text(encoding="utf-8"))
PARTS = json.loads((DIRECTORY / "sealed_parts.json").read_text(encoding="utf-8"))


def context_of(case):
    return tuple(part["text"] if "text" in part else bytes.fromhex(part["hex"]) for part in case["context"])


def opened(case):
    secret = bytes.fromhex(SEALED["keys"][case["key"]]["secret"])
    return open_sealed(secret, bytes.fromhex(case["sealed"]), context_of(case))


def test_the_suite_is_the_one_that_is_named():
    assert SEALED["suite"] == {"kem": f"{KEM:04x}", "kdf": f"{KDF:04x}", "aead": f"{AEAD:04x}"}
    assert SUITE.hex() == b"HPKE".hex() + "647a" + "0001" + "0003"


@pytest.mark.parametrize("good", SEALED["good"], ids=lambda case: case["name"])
def test_what_was_sealed_opens(good):
    plain = opened(good)
    assert (len(plain), hashlib.sha256(plain).hexdigest()) == (good["plain"]["bytes"], good["plain"]["sha256"])


@pytest.mark.parametrize("bad", SEALED["bad"], ids=lambda case: case["name"])
def test_what_was_sealed_otherwise_or_altered_does_not_open(bad):
    with pytest.raises(RefusedError) as error:
        opened(bad)
    assert error.value.kind == bad["refused"]


def test_a_good_one_with_any_byte_altered_does_not_open():
    good = SEALED["good"][0]
    data = bytes.fromhex(good["sealed"])
    for place in range(0, len(data), 7):
        with pytest.raises(RefusedError):
            opened({**good, "sealed": (data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]).hex()})


@pytest.mark.parametrize("part", PARTS["parts"], ids=lambda part: part["number"])
def test_parts_open(part):
    key, context = bytes.fromhex(PARTS["content_key"]), context_of(PARTS)
    assert part_key(key, context).hex() == PARTS["part_key"]
    assert open_part(key, context, int(part["number"]), bytes.fromhex(part["sealed"])).hex() == part["plain"]


@pytest.mark.parametrize("bad", PARTS["bad"], ids=lambda case: case["name"])
def test_parts_of_another_place_or_use_or_altered_do_not_open(bad):
    with pytest.raises(RefusedError) as error:
        open_part(bytes.fromhex(bad["content_key"]), context_of(bad), int(bad["number"]), bytes.fromhex(bad["sealed"]))
    assert error.value.kind == bad["refused"]
