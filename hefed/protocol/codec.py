"""Deterministic CBOR (RFC 8949, section 4.2) of plain values: null, booleans, integers, floats, text, bytes, arrays,
maps with text keys.

cbor2 does the coding. It accepts more than the deterministic form, so a reader encodes again and compares: one value
has one encoding, and a hash of the encoding is a hash of the value.
"""

from collections.abc import Collection
from typing import Any

import cbor2

from hefed.protocol import limits
from hefed.protocol.errors import EncodingError

MAX_DEPTH, MAX_BYTES = limits.MAX_NESTING, limits.MAX_ENCODED
MAX_ITEMS, MAX_VALUES = limits.MAX_ITEMS, limits.MAX_PLAIN

_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_TEXT = frozenset((str,))


def _refuse_tag(*_: object) -> Any:
    raise ValueError("a tag; plain values have none")


# Among cbor2's own tags are references to earlier values: a few hundred bytes that stand for a value without end.
_NO_TAGS = dict.fromkeys((*range(1200), 43000, 55799), _refuse_tag)


def encode(value: Any, most: int = MAX_BYTES) -> bytes:
    """The one encoding of a plain value. Raises EncodingError for any other value, or for more than `most` bytes."""
    _refuse_unless_plain(value)
    encoded: bytes = cbor2.dumps(value, canonical=True)
    if len(encoded) > most:
        raise EncodingError(f"a message of {len(encoded)} bytes; at most {most} are allowed outside attachments")
    return encoded


def decode(data: bytes, most: int = MAX_BYTES) -> Any:
    """The plain value whose encoding is `data`. Raises EncodingError for anything else, however malformed, and for more
    than `most` bytes.
    """
    if len(data) > most:
        raise EncodingError(f"{len(data)} bytes of CBOR; at most {most} are allowed")
    if len(data) > MAX_VALUES:  # a value takes a byte at least
        _refuse_many(data)
    try:
        value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_NO_TAGS,
            tag_hook=_refuse_tag,
        )
    except (cbor2.CBORError, ValueError, OverflowError, TypeError) as error:
        raise EncodingError(f"not CBOR of plain values: {error}") from error
    _refuse_unless_plain(value)
    if cbor2.dumps(value, canonical=True) != data:
        raise EncodingError("not in the deterministic form of CBOR, so its hash would not be the value's; refused")
    return value


_ARGUMENT = {24: 1, 25: 2, 26: 4, 27: 8}
_STRINGS = (2, 3)


def _refuse_many(data: bytes) -> None:
    """Raises EncodingError for more than MAX_VALUES values, before any is made. Looks at heads alone, and leaves all
    else that can be wrong to cbor2.
    """
    place, end, values = 0, len(data), 0
    while place < end:
        values += 1
        if values > MAX_VALUES:
            raise EncodingError(f"CBOR of more than {MAX_VALUES} values; no more are allowed in one message")
        major, argument = data[place] >> 5, data[place] & 31
        size = _ARGUMENT.get(argument, 0)
        place += 1 + size
        if major in _STRINGS:
            place += int.from_bytes(data[place - size : place]) if size else argument


def _refuse_unless_plain(value: Any) -> None:
    left, values = [value], 1
    while left:
        one = left.pop()
        if type(one) in _PLAIN:
            continue
        if not isinstance(one, (dict, list)):
            raise EncodingError(f"a value of type {type(one).__name__} cannot stand in a message")
        if len(one) > MAX_ITEMS:
            raise EncodingError(f"{len(one)} items in one array or map; at most {MAX_ITEMS} are allowed")
        items: Collection[Any] = one
        values += len(one)
        if isinstance(one, dict):
            if not _TEXT.issuperset(map(type, one)):
                other = next(kind for kind in map(type, one) if kind not in _TEXT)
                raise EncodingError(f"a map's key is of type {other.__name__}; keys are text")
            items = one.values()
            values += len(one)
        if values > MAX_VALUES:
            raise EncodingError(f"more than {MAX_VALUES} values; no more are allowed in one message")
        if not _PLAIN.issuperset(map(type, items)):  # each item in turn only where one of them needs it
            left += [item for item in items if type(item) not in _PLAIN]
