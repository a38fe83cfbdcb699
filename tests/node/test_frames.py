"""How messages lie in ZeroMQ's frames: alone, together, and in forms that nobody of ours sends."""

from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from hefed.node.frames import MAX_FRAMES, MAX_TOGETHER, PIECE, TOGETHER, Link, messages_of, parts_of, together
from hefed.protocol import codec

LONG = (0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE)


@st.composite
def messages(draw: st.DrawFn) -> list[Link]:
    """Up to as many as may leave together, of few frames each, some of them in several pieces."""
    made: list[Link] = []
    for number in range(draw(st.integers(1, 8))):
        sizes = draw(st.lists(st.sampled_from(LONG), max_size=3))
        frames = tuple(bytes([number]) * size for size in sizes)
        made.append(({"type": draw(st.sampled_from(("entry", "beat"))), "number": number}, frames))
    return made


def headers_of(*headers: object) -> list[zmq.Frame]:
    return [zmq.Frame(codec.encode(list(headers)))]


@given(messages())
def test_messages_that_leave_together_are_those_that_came(sent: list[Link]) -> None:
    parts = parts_of(*sent)
    assert messages_of([zmq.Frame(part.bytes) for part in parts]) == sent
    assert all(len(part) <= PIECE for part in parts[1:])


@given(messages())
def test_a_piece_more_less_or_of_another_length_is_not_of_our_form(sent: list[Link]) -> None:
    parts = [zmq.Frame(part.bytes) for part in parts_of(*sent)]
    assert messages_of([*parts, zmq.Frame(b"")]) == []
    if len(parts) > 1:
        assert messages_of(parts[:-1]) == []
        assert messages_of([*parts[:-1], zmq.Frame(parts[-1].bytes + b"x")]) == []


def test_what_is_short_leaves_together_and_in_order() -> None:
    sizes = [10, 20, TOGETHER, 5, TOGETHER - 5, 1, *[0] * (2 * MAX_TOGETHER)]
    sent: list[Link] = [({"type": "entry", "number": i}, (bytes(size),)) for i, size in enumerate(sizes)]
    lists = list(together(sent))
    assert [message for some in lists for message in some] == sent
    assert [len(some) for some in lists] == [2, 1, 2, MAX_TOGETHER, MAX_TOGETHER, 1]
    assert all(sum(len(frames[0]) for _, frames in some) <= TOGETHER for some in lists)
    assert list(together([])) == []


def test_one_message_has_its_header_without_an_array() -> None:
    (part,) = parts_of(({"type": "beat"}, ()))
    assert codec.decode(part.bytes) == {"type": "beat"}
    assert messages_of(headers_of({"type": "beat"})) == []


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [{"type": "beat"}, {"type": 5}],
        [{"type": "beat"}, "beat"],
        [{"type": "beat"}, [{"type": "beat"}]],
        [{"type": "beat"}, {"type": "entry", "sizes": 3}],
        [{"type": "beat"}, {"type": "entry", "sizes": [-1]}],
        [{"type": "beat"}, {"type": "entry", "sizes": [True]}],
        [{"type": "beat"}] * (MAX_TOGETHER + 1),
    ],
    ids=repr,
)
def test_headers_of_another_form_are_no_messages(headers: list[Any]) -> None:
    assert messages_of([*headers_of(*headers), zmq.Frame(b"x")]) == []
    assert messages_of(headers_of(*headers)) == []


def test_messages_together_have_no_more_frames_than_one_may() -> None:
    for count, known in ((MAX_FRAMES, 2), (MAX_FRAMES + 1, 0)):
        headers = [{"type": "entry", "sizes": [0] * 10}, {"type": "entry", "sizes": [0] * (count - 10)}]
        assert len(messages_of([*headers_of(*headers), *[zmq.Frame(b"")] * count])) == known
