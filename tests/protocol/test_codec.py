"""One value has one encoding, and hostile bytes have a typed error."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.protocol import codec
from hefed.protocol.errors import EncodingError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    assert codec.decode(codec.encode(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_either_refused_or_the_one_encoding_of_their_value(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except EncodingError:
        return
    assert codec.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81" * 100_000 + b"\x00",  # deep
        b"\x9b" + b"\xff" * 8,  # an array of 2^64 - 1
        b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",  # a string that is not there
        b"\x9f\x01\xff",  # of indefinite length
        b"\x18\x01",  # 1, not in its shortest form
        b"\xa2\x61b\x01\x61a\x02",  # keys out of order
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\xa1\x01\x02",  # a key that is no text
        b"\xd8\x1c\x81\x80",  # shared references
        b"\xc2\x41\x01",  # a tag
        b"\x82\xd8\x1c\x81\xd8\x1d\x00\x00",  # a value that contains itself
        b"\x8b\xd8\x1c\x80" + b"".join(b"\xd8\x1c\x94" + (b"\xd8\x1d" + bytes([i])) * 20 for i in range(10)),  # 20^10
        b"\xd9\xd9\xf7\x00",  # self-described
        b"\xf8\x20",  # a simple value without meaning
        b"\xd9\x01\x02\x81\x01",  # a set
        b"\xc0\x61a",  # a date that is none
        b"\xf7",  # undefined
        cbor2.dumps([1, 2], canonical=True) + b"\x00",  # something behind it
    ],
)
def test_what_is_not_deterministic_cbor_of_plain_values_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        codec.decode(data)


def test_values_that_cannot_stand_in_a_message_are_not_encoded() -> None:
    for value in ({1: 2}, {"a": {3}}, (1, 2), object()):
        with pytest.raises(EncodingError):
            codec.encode(value)


def test_a_long_value_is_refused_on_both_sides() -> None:
    with pytest.raises(EncodingError, match="at most"):
        codec.encode(bytes(codec.MAX_BYTES))
    with pytest.raises(EncodingError, match="at most"):
        codec.decode(bytes(codec.MAX_BYTES + 1))


def test_as_many_items_as_are_allowed_and_not_one_more() -> None:
    most: list[object] = [0] * codec.MAX_ITEMS
    assert codec.decode(codec.encode(most)) == most
    longer = [*most, 0]
    with pytest.raises(EncodingError, match="65537 items in one array or map"):
        codec.encode(longer)
    with pytest.raises(EncodingError, match="65537 items in one array or map"):
        codec.decode(cbor2.dumps(longer, canonical=True))
    with pytest.raises(EncodingError, match="65537 items in one array or map"):
        codec.encode({str(i): 0 for i in range(codec.MAX_ITEMS + 1)})


def parts(values: int) -> list[list[int]]:
    """A value that counts for so many, in arrays that are short enough."""
    inner = values - 4  # the outer array and three within
    return [[0] * min(inner - start, 50_000) for start in (0, 50_000, 100_000)]


def test_as_many_values_as_are_allowed_and_not_one_more() -> None:
    most = parts(codec.MAX_VALUES)
    assert codec.decode(codec.encode(most)) == most
    more = parts(codec.MAX_VALUES + 1)
    with pytest.raises(EncodingError, match="more than 131072 values; no more are allowed"):
        codec.encode(more)
    with pytest.raises(EncodingError, match="CBOR of more than 131072 values"):
        codec.decode(cbor2.dumps(more, canonical=True))


@pytest.mark.parametrize("value", [{"a": 0}, {"a": [0] * 4}, [{"a": "text", "b": b"bytes"}]])
def test_a_map_counts_with_its_keys(value: object) -> None:
    """What is counted in the bytes is counted in the value: neither side takes more than the other."""
    filling = [0] * 60_000
    for left in range(codec.MAX_VALUES - 60_000 * 2 - 13, codec.MAX_VALUES - 60_000 * 2 - 4):
        whole = [filling, filling, [0] * left, value]
        data = cbor2.dumps(whole, canonical=True)
        try:
            encoded: object = codec.encode(whole)
        except EncodingError:
            encoded = None
        if encoded is None:
            with pytest.raises(EncodingError, match="values"):
                codec.decode(data)
        else:
            assert encoded == data
            assert codec.decode(data) == whole


@pytest.mark.parametrize("size", [codec.MAX_VALUES, codec.MAX_BYTES - 5])
def test_a_long_string_is_one_value(size: int) -> None:
    """However many bytes it has, and whatever they would mean as heads."""
    assert codec.decode(codec.encode(bytes(size))) == bytes(size)
