"""How a keyholder's answers to one question are written, before they are sealed."""

import struct
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hefed.crypto.keys import Subset
from hefed.crypto.parameters import MAX_KEYHOLDERS, MAX_SUBSETS
from hefed.protocol import codec
from hefed.protocol.errors import ProtocolError

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


def most_bytes(sets: int, keyholders: int, size: int) -> int:
    """What sealed answers of one keyholder can have at most: for each set that it holds an answer (of `size` bytes) and
    as much of the header as a hash needs, in which the set names so many keyholders at most.
    """
    return 128 + sets * (size + 64 + 2 * keyholders)


def pack_answers(full: list[tuple[Subset, bytes]], hashes: list[tuple[Subset, bytes]]) -> bytes:
    """The length of a header (u32, little-endian), the header in CBOR, and the answers one after another."""
    header = _Header(
        answers=[list(subset) for subset, _ in full],
        hashes=[_Hash(share=list(subset), digest=digest) for subset, digest in hashes],
    )
    encoded = codec.encode(header.model_dump())
    return b"".join([struct.pack("<I", len(encoded)), encoded, *(packed for _, packed in full)])


def unpack_answers(data: bytes, size: int) -> tuple[dict[Subset, bytes], dict[Subset, bytes]]:
    """The answers (each of `size` bytes) and hashes in `data`. Raises ProtocolError for any other form."""
    try:
        (length,) = struct.unpack_from("<I", data)
        header = _Header.model_validate(codec.decode(data[4 : 4 + length]))
    except (struct.error, ValidationError) as error:
        raise ProtocolError("share answers that do not have their form") from error
    subsets = [tuple(subset) for subset in header.answers]
    hashes = {tuple(item.share): item.digest for item in header.hashes}
    rest = memoryview(data)[4 + length :]
    if len(rest) != size * len(subsets) or len({*subsets, *hashes}) != len(subsets) + len(header.hashes):
        raise ProtocolError("share answers of a wrong length, or two for one share")
    return {subset: bytes(rest[i * size : (i + 1) * size]) for i, subset in enumerate(subsets)}, hashes
