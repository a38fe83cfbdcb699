"""Hashes and keyed hashes of unambiguous encodings (`protocols/encryption.md`, Conventions).

Relies on SHA-256 and HMAC of the standard library. Every use has its own tag, so that no two uses share inputs.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from hefed.crypto.buffer import Buffer

DIGEST_SIZE = 32


@dataclass(frozen=True)
class Pieces:
    """A part of known size, some bytes at a time; to be used once."""

    size: int
    pieces: Iterator[Buffer]

    def __iter__(self) -> Iterator[Buffer]:
        return self.pieces


Part = bytes | str | int


def encode_parts(*parts: Part) -> bytes:
    """`enc`: each part after its length as u64; text is UTF-8, an integer is a u64 (OverflowError if it is none)."""
    encoded = bytearray()
    for part in parts:
        data = part.to_bytes(8, "little") if isinstance(part, int) else part.encode() if isinstance(part, str) else part
        encoded += len(data).to_bytes(8, "little")
        encoded += data
    return bytes(encoded)


def tagged_hash(tag: str, *parts: Part | memoryview | Pieces) -> bytes:
    """`H`: the 32-byte SHA-256 of the tag and the parts, hashed where they are."""
    digest = hashlib.sha256(encode_parts("hefed/1 " + tag))
    for part in parts:
        if isinstance(part, Pieces):
            digest.update(part.size.to_bytes(8, "little"))
            for piece in part:
                digest.update(piece)
        elif isinstance(part, bytes | memoryview):
            digest.update(memoryview(part).nbytes.to_bytes(8, "little"))
            digest.update(part)
        else:
            digest.update(encode_parts(part))
    return digest.digest()


def prf(key: bytes, tag: str, *parts: Part) -> bytes:
    """`PRF`: the 32-byte HMAC-SHA-256 of the tag and the parts under a 32-byte key."""
    return hmac.digest(key, encode_parts("hefed/1 " + tag, *parts), "sha256")
