"""How messages lie in ZeroMQ's: alone, together, and in forms that nobody of ours sends."""

from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from hefed.node.frames import MAX_FRAMES, MAX_TOGETHER, TOGETHER, Link, headers_of, messages_of, parts_of, together
from hefed.protocol import codec
from hefed.protocol.messages import MAX_ATTACHMENT


@st.composite
def messages(draw: st.DrawFn) -> list[Link]:
    """Some that leave together, of few frames each."""
    made: list[Link] = []
    for number in range(draw(st.integers(1, 8))):
        sizes = draw(st.lists(st.sampled_from((0, 1, 500, 4000)), max_size=3))
        frames = tuple(bytes([number]) * size for size in sizes)
        made.append(({"type": draw(st.sampled_from(("entry", "beat"))), "number": number}, frames))
    return made


def read(parts: list[zmq.Frame]) -> list[Any]:
    return messages_of(headers_of(parts[0]), parts[1:])


def first(*headers: object) -> zmq.Frame:
    return zmq.Frame(codec.encode(list(headers)))


@given(messages())
def test_messages_that_leave_together_are_those_that_came(sent: list[Link]) -> None:
    assert read([zmq.Frame(part.bytes) for part in parts_of(*sent)]) == sent


@given(messages())
def test_a_frame_more_less_or_of_another_length_is_not_of_our_form(sent: list[Link]) -> None:
    parts = [zmq.Frame(part.bytes) for part in parts_of(*sent)]
    assert read([*parts, zmq.Frame(b"")]) == []
    if len(parts) > 1:
        assert read(parts[:-1]) == []
        assert read([*parts[:-1], zmq.Frame(parts[-1].bytes + b"x")]) == []


def test_what_is_short_leaves_together_and_in_order() -> None:
    sizes = [10, 20, TOGETHER, 5, TOGETHER - 5, 1, *[0] * (2 * MAX_TOGETHER), TOGETHER + 1, 1]
    sent: list[Link] = [({"type": "entry", "number": i}, (bytes(size),)) for i, size in enumerate(sizes)]
    lists = list(together(sent))
    assert [message for some in lists for message in some] == sent
    assert [len(some) for some in lists] == [2, 1, 2, MAX_TOGETHER, MAX_TOGETHER, 1, 1, 1]
    assert list(together([])) == []


def test_one_message_has_its_header_without_an_array() -> None:
    (part,) = parts_of(({"type": "beat"}, ()))
    assert codec.decode(part.bytes) == {"type": "beat"}
    assert headers_of(first({"type": "beat"})) == []


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
        [{"type": "beat"}, {"type": "entry", "sizes": [1], "long": "x"}],
        [{"type": "beat"}, {"type": "taken", "long": -1, "bytes": 0}],
        [{"type": "beat"}, {"type": "entry", "sizes": [TOGETHER + 1]}],
        [{"type": "beat"}] * (MAX_TOGETHER + 1),
    ],
    ids=lambda headers: str(headers)[-60:],
)
def test_headers_of_another_form_are_no_messages(headers: list[Any]) -> None:
    assert headers_of(first(*headers)) == []


def test_no_more_is_announced_than_there_may_be() -> None:
    for sizes, known in (
        ([0] * MAX_FRAMES, True),
        ([0] * (MAX_FRAMES + 1), False),
        ([codec.MAX_BYTES, MAX_ATTACHMENT], True),
        ([codec.MAX_BYTES + 1], False),  # longer than an envelope
        ([0, 2**62], False),
    ):
        assert bool(headers_of(zmq.Frame(codec.encode({"type": "message", "sizes": sizes, "long": 1})))) is known
    together = [{"type": "entry", "sizes": [0] * 10}, {"type": "entry", "sizes": [0] * (MAX_FRAMES - 9)}]
    assert headers_of(first(*together)) == []
