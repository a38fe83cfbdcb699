"""Deterministic CBOR (RFC 8949, section 4.2) of plain values: null, booleans, integers, floats, bytes, text, arrays and
maps with text as keys.

NOT FOR PRODUCTION: what may be too much is looked at late. Relies on the standard library alone.
"""

import struct
from typing import Any

from protocols.reference.primitives import RefusedError

FLOATS = {25: ">e", 26: ">f", 27: ">d"}
MOST_BYTES, MOST_NESTING, MOST_ITEMS, MOST_VALUES = 4 * 2**20, 12, 65536, 131072


def head(major: int, argument: int) -> bytes:
    """A major type and its argument, as short as it can be."""
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")


def encode(value: Any) -> bytes:
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return encode_float(value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode("utf-8")
        return head(3, len(text)) + text
    if isinstance(value, list | tuple):
        return head(4, len(value)) + b"".join(encode(item) for item in value)
    pairs = sorted((encode(key), encode(item)) for key, item in value.items())
    return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)


def encode_float(value: float) -> bytes:
    """The shortest of the three forms that gives the value back."""
    if value != value:
        return b"\xf9\x7e\x00"
    for additional, form in FLOATS.items():
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return bytes([7 << 5 | additional]) + packed
    raise AssertionError("every float has eight bytes")


def decode(data: bytes) -> Any:
    """The value whose one encoding is `data`. Refused: anything else, and more than `protocols/messages.md` allows."""
    if len(data) > MOST_BYTES:
        raise RefusedError("malformed", "too long")
    try:
        value, end = item(data, 0, MOST_NESTING)
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise RefusedError("malformed", "not CBOR of plain values") from error
    if end != len(data) or encode(value) != data:
        raise RefusedError("malformed", "not in the deterministic form")
    if values_in(value) > MOST_VALUES:
        raise RefusedError("malformed", "too many values")
    return value


def values_in(value: Any) -> int:
    """How many values there are, with all that are in them; a map's keys count."""
    if isinstance(value, list):
        return 1 + sum(values_in(one) for one in value)
    if isinstance(value, dict):
        return 1 + sum(1 + values_in(one) for one in value.values())
    return 1


def item(data: bytes, place: int, nesting: int) -> tuple[Any, int]:
    """The value that begins there, in which a value may stand in so many arrays and maps, and where it ends."""
    major, additional = data[place] >> 5, data[place] & 31
    place += 1
    if major == 7 and additional in FLOATS:
        size = struct.calcsize(FLOATS[additional])
        return struct.unpack(FLOATS[additional], data[place : place + size])[0], place + size
    if major == 7:
        return {20: False, 21: True, 22: None}[additional], place
    argument = additional
    if additional > 23:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[additional]
        argument, place = int.from_bytes(data[place : place + size], "big"), place + size
    if major in (0, 1):
        return (argument if major == 0 else -1 - argument), place
    if major in (2, 3):
        piece = data[place : place + argument]
        return (piece if major == 2 else piece.decode("utf-8")), place + argument
    if argument > (MOST_ITEMS if nesting else 0):
        raise RefusedError("malformed", "nested too deep, or too many items")
    values = []
    for _ in range(argument * {4: 1, 5: 2}[major]):
        value, place = item(data, place, nesting - 1)
        values.append(value)
    if major == 4:
        return values, place
    if not all(isinstance(key, str) for key in values[::2]):
        raise RefusedError("malformed", "a key that is not text")
    return dict(zip(values[::2], values[1::2], strict=True)), place
