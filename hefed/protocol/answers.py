"""How a keyholder's answers to one question are written, before they are sealed."""

import struct

from hefed.crypto.keys import Subset
from hefed.protocol import codec
from hefed.protocol.errors import ProtocolError


def pack_answers(full: list[tuple[Subset, bytes]], hashes: list[tuple[Subset, bytes]]) -> bytes:
    """A length, a CBOR map of sets and hashes, and the answers one after another."""
    header = codec.encode(
        {
            "answers": [list(subset) for subset, _ in full],
            "hashes": [[list(subset), digest] for subset, digest in hashes],
        }
    )
    return b"".join([struct.pack("<I", len(header)), header, *(packed for _, packed in full)])


def unpack_answers(data: bytes, size: int) -> tuple[dict[Subset, bytes], dict[Subset, bytes]]:
    """The answers (each of `size` bytes) and hashes in `data`. Raises ProtocolError for any other form."""
    try:
        (length,) = struct.unpack_from("<I", data)
        header = codec.decode(data[4 : 4 + length])
        answers = [tuple(map(int, subset)) for subset in header["answers"]]
        hashes = {tuple(map(int, subset)): bytes(digest) for subset, digest in header["hashes"]}
    except (struct.error, KeyError, TypeError, ValueError) as error:
        raise ProtocolError("share answers that do not have their form") from error
    rest = memoryview(data)[4 + length :]
    if len(rest) != size * len(answers) or len(set(answers)) != len(answers) or set(answers) & set(hashes):
        raise ProtocolError("share answers of a wrong length, or two for one share")
    return {subset: bytes(rest[i * size : (i + 1) * size]) for i, subset in enumerate(answers)}, hashes
