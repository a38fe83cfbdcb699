"""Hashes bind their parts: no two lists of parts encode alike, and the bytes are those of the page."""

import hashlib
import hmac
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.crypto.hashing import Pieces, encode_parts, prf, tagged_hash

PARTS = st.lists(st.binary(max_size=20), max_size=5)


def test_encoding_is_length_then_bytes():
    assert encode_parts(b"ab", "é", 258) == (
        struct.pack("<Q", 2) + b"ab" + struct.pack("<Q", 2) + b"\xc3\xa9" + struct.pack("<QQ", 8, 258)
    )


@given(PARTS, PARTS)
def test_different_parts_never_encode_alike(a, b):
    assert (encode_parts(*a) == encode_parts(*b)) == (a == b)


def test_hash_is_sha256_of_tag_and_parts():
    data = struct.pack("<Q", 9) + b"hefed/1 x" + struct.pack("<Q", 1) + b"y"
    assert tagged_hash("x", b"y") == hashlib.sha256(data).digest()


@given(PARTS, st.integers(1, 5))
def test_parts_in_pieces_and_arrays_hash_as_bytes(parts, size):
    """Whatever a part lies in, its bytes and their number count."""

    def in_pieces(part):
        return Pieces(len(part), (part[i : i + size] for i in range(0, len(part), size)))

    pieces = [in_pieces(part) for part in parts]
    assert tagged_hash("x", *pieces) == tagged_hash("x", *parts)
    assert tagged_hash("x", *(memoryview(part) for part in parts)) == tagged_hash("x", *parts)
    words = np.arange(size, dtype="<i2")
    assert tagged_hash("x", words.data, *parts) == tagged_hash("x", words.tobytes(), *parts)


def test_prf_is_hmac_sha256_of_tag_and_parts():
    data = struct.pack("<Q", 9) + b"hefed/1 x" + struct.pack("<QQ", 8, 5)
    assert prf(b"k" * 32, "x", 5) == hmac.new(b"k" * 32, data, hashlib.sha256).digest()


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_outside_u64_are_refused(number):
    with pytest.raises(OverflowError):
        encode_parts(number)
