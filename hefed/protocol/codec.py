"""Deterministic CBOR (RFC 8949, section 4.2) of plain values: null, booleans, integers, floats, text, bytes, arrays,
maps with text keys.

cbor2 does the coding. It accepts more than the deterministic form, so a reader encodes again and compares: one value
has one encoding, and a hash of the encoding is a hash of the value.
"""

from collections.abc import Iterable
from typing import Any

import cbor2

from hefed.protocol.errors import EncodingError

MAX_DEPTH = 12
"""Containers within containers; the deepest message has seven."""
MAX_BYTES = 4 * 2**20
"""Of one encoded value. Long vectors travel outside, as attachments bound by their hash."""

MAX_ITEMS = 2**16
"""Of one array or map."""

_PLAIN = frozenset((type(None), bool, int, float, str, bytes))


def _refuse_tag(*_: object) -> Any:
    raise ValueError("a tag; plain values have none")


# Among cbor2's own tags are references to earlier values: a few hundred bytes that stand for a value without end.
_NO_TAGS = dict.fromkeys((*range(1200), 43000, 55799), _refuse_tag)


def encode(value: Any) -> bytes:
    """The one encoding of a plain value. Raises EncodingError for any other value."""
    _refuse_unless_plain(value)
    encoded: bytes = cbor2.dumps(value, canonical=True)
    if len(encoded) > MAX_BYTES:
        raise EncodingError(f"a message of {len(encoded)} bytes; at most {MAX_BYTES} are allowed outside attachments")
    return encoded


def decode(data: bytes) -> Any:
    """The plain value whose encoding is `data`. Raises EncodingError for anything else, however malformed."""
    if len(data) > MAX_BYTES:
        raise EncodingError(f"{len(data)} bytes of CBOR; at most {MAX_BYTES} are allowed")
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


def _refuse_unless_plain(value: Any) -> None:
    left = [value]
    while left:
        one = left.pop()
        if type(one) in _PLAIN:
            continue
        if not isinstance(one, (dict, list)):
            raise EncodingError(f"a value of type {type(one).__name__} cannot stand in a message")
        if len(one) > MAX_ITEMS:
            raise EncodingError(f"{len(one)} items in one array or map; at most {MAX_ITEMS} are allowed")
        items: Iterable[Any] = one
        if isinstance(one, dict):
            for key in one:
                if not isinstance(key, str):
                    raise EncodingError(f"a map's key is of type {type(key).__name__}; keys are text")
            items = one.values()
        left += [item for item in items if type(item) not in _PLAIN]
