"""Long messages, in pieces: as they are sent, and as nobody of ours sends them."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hefed.crypto.buffer import Buffer
from hefed.node.errors import GoneError, NodeError
from hefed.node.frames import PIECE, PIECE_FOLLOWS, TOGETHER, Came, Link, parts_of, pieces_of
from hefed.node.limits import Limits
from hefed.node.link import Received
from hefed.node.pieces import IN_MEMORY, ON_THE_WAY, SAY, Pieces
from hefed.protocol import codec
from tests.node.runs import wait_for
from tests.node.test_bounds import Pair, pairs

__all__ = ["pairs"]

DATA = os.urandom(IN_MEMORY + 3 * PIECE)
HEADER = {"type": "message", "number": 3}


class OnDisk:
    """Bytes that are read when they leave."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def pieces(self, size: int) -> Iterator[Buffer]:
        return (self._data[start : start + size] for start in range(0, len(self._data), size))


def sent(message: Link) -> list[list[zmq.Frame]]:
    """As it comes over the wire."""
    return [[zmq.Frame(part.bytes) for part in parts] for parts in pieces_of(message, 1)]


def piece(data: bytes) -> list[zmq.Frame]:
    return [zmq.Frame(PIECE_FOLLOWS), zmq.Frame(data)]


def refuse(parts: list[zmq.Frame]) -> bool:
    """Where nothing may be said."""
    raise AssertionError(parts)


def full(parts: list[zmq.Frame]) -> bool:
    """A queue without room."""
    return False


def came(pieces: Pieces, message: Link) -> list[Came]:
    return [one for parts in sent(message) for one in pieces.read(parts)]


@given(st.lists(st.sampled_from((0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE)), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_long_message_comes_as_it_was(tmp_path: Path, sizes: list[int]) -> None:
    frames = tuple(DATA[i : i + size] for i, size in enumerate([*sizes, TOGETHER]))
    frames = (b"envelope", *frames)
    for message in ((HEADER, frames), (HEADER, (frames[0], *map(OnDisk, frames[1:])))):
        assert came(Pieces(tmp_path), message) == [(HEADER, frames)]
        assert all(len(part) <= PIECE for parts in sent(message)[1:] for part in parts)


def test_a_longer_one_lies_in_a_file_without_a_name(tmp_path: Path) -> None:
    frames = (b"envelope", DATA, b"", DATA[:5])
    ((header, found),) = came(Pieces(tmp_path), (HEADER, frames))
    assert (header, tuple(map(bytes, found))) == (HEADER, frames)
    assert [type(one) for one in found] == [bytes, memoryview, memoryview, memoryview]
    assert all(one.readonly for one in found[1:])  # type: ignore[union-attr]
    assert list(tmp_path.iterdir()) == []


def test_who_has_no_room_for_a_long_one_says_so(tmp_path: Path) -> None:
    (announced,) = sent((HEADER, (b"envelope", DATA)))[:1]
    with pytest.raises(NodeError, match=r"cannot be put into a file in .*: no such file or directory; free some space"):
        Pieces(tmp_path / "none").read(announced)


@pytest.mark.parametrize("wrong", [b"", b"x", DATA[: PIECE - 1], DATA[: PIECE + 1], DATA], ids=len)
def test_a_piece_of_another_length_ends_its_message(wrong: bytes) -> None:
    pieces = Pieces(None)
    announced, *_, last = sent((HEADER, (DATA[:100], DATA[: 2 * PIECE])))
    pieces.read(announced)
    assert pieces.read(piece(wrong)) == []
    assert pieces.arriving is None
    assert pieces.is_lost
    assert pieces.read(last) == []  # it was announced, and is not taken any more


def test_pieces_that_nobody_announced_are_not_taken() -> None:
    pieces = Pieces(None)
    for _ in range(3):
        assert pieces.read(piece(DATA[:PIECE])) == []
    pieces.go_on(refuse)  # there is nothing to say
    assert came(pieces, (HEADER, (DATA[:PIECE], b"more"))) == [(HEADER, (DATA[:PIECE], b"more"))]
    assert pieces.read(piece(b"more")) == []


def test_the_newest_long_message_counts_and_short_ones_pass_it() -> None:
    pieces = Pieces(None)
    older = sent((HEADER, (DATA[: 5 * PIECE],)))
    for parts in older[:3]:
        assert pieces.read(parts) == []
    beat = parts_of(({"type": "beat"}, ()))
    assert pieces.read(beat) == [({"type": "beat"}, ())]
    newer: Link = ({"type": "message", "number": 4}, (DATA[1 : 3 * PIECE],))
    assert came(pieces, newer) == [newer]
    assert [one for parts in older[3:] for one in pieces.read(parts)] == []


def test_a_long_message_in_one_of_zeromqs_is_not_taken() -> None:
    pieces = Pieces(None)
    (header,), *rest = sent((HEADER, (DATA[: 2 * PIECE],)))
    assert pieces.read([header, *[parts[1] for parts in rest]]) == []
    assert pieces.arriving is None


def test_only_so_much_is_on_its_way_until_it_is_said_to_be_taken() -> None:
    sender, receiver, wire = Pieces(None), Pieces(None), list[list[zmq.Frame]]()

    def hand_over(parts: list[zmq.Frame]) -> bool:
        wire.append([zmq.Frame(part.bytes) for part in parts])
        return True

    long: Link = (HEADER, (b"envelope", DATA, DATA))
    sender.begin(long)
    found, most = [], 0
    while sender.leaves or wire:
        sender.go_on(hand_over)
        on_the_way = sum(len(parts[1]) for parts in wire if len(parts) == 2)
        most = max(most, on_the_way)
        found += receiver.read(wire.pop(0))
        receiver.go_on(lambda parts: bool(sender.read(parts)) or True)
    assert [(header, tuple(map(bytes, frames))) for header, frames in found] == [long]
    assert ON_THE_WAY <= most < ON_THE_WAY + PIECE


@pytest.mark.parametrize("taken", [-1, 2**70, True, 1.5, "1"])
def test_what_a_receiver_never_got_is_not_taken_as_taken(taken: object) -> None:
    sender, handed = Pieces(None), list[list[zmq.Frame]]()

    def hand_over(parts: list[zmq.Frame]) -> bool:
        handed.append(parts)
        return True

    sender.begin((HEADER, (DATA, DATA)))
    sender.go_on(hand_over)
    first = len(handed)
    assert first == 1 + ON_THE_WAY // PIECE
    for number in (1, 0, 2, None):
        sender.read(parts_of(({"type": "taken", "long": number, "bytes": taken}, ())))
    sender.go_on(hand_over)
    assert len(handed) <= 2 * first  # it has got no more than was handed over before


class Leaving:
    """The pieces of long messages that leave, to a receiver that says what it likes."""

    def __init__(self) -> None:
        self.sender, self.bytes = Pieces(None), 0

    def hand_over(self, parts: list[zmq.Frame]) -> bool:
        self.bytes += sum(map(len, parts[1:]))
        return True

    def begin(self) -> int:
        self.sender.begin((HEADER, (DATA, DATA)))
        return self.go_on()

    def go_on(self) -> int:
        """How many bytes leave."""
        before = self.bytes
        self.sender.go_on(self.hand_over)
        return self.bytes - before

    def say(self, number: int, taken: int) -> int:
        """How many bytes leave after the receiver has said so."""
        assert self.sender.read(parts_of(({"type": "taken", "long": number, "bytes": taken}, ()))) == []
        return self.go_on()


def test_what_is_taken_of_another_message_lets_nothing_leave() -> None:
    leaving = Leaving()
    assert leaving.begin() == ON_THE_WAY
    while leaving.sender.leaves:
        leaving.say(1, leaving.bytes)
    assert leaving.begin() == ON_THE_WAY
    for number in (0, 1, 3, 2**40):  # of which 1 was on its way before
        assert leaving.say(number, ON_THE_WAY) == 0
        assert leaving.say(number, 2 * len(DATA)) == 0
    assert leaving.say(2, SAY) == SAY


def test_what_was_not_sent_yet_is_not_taken_ahead() -> None:
    leaving = Leaving()
    assert leaving.begin() == ON_THE_WAY
    assert leaving.say(1, 2 * len(DATA)) == ON_THE_WAY  # as if all that had left were taken
    for taken in (0, SAY, ON_THE_WAY):
        assert leaving.say(1, taken) == 0  # all of which it has said before
    assert leaving.say(1, ON_THE_WAY + SAY) == SAY


def test_where_nothing_can_be_handed_over_it_waits_and_goes_on_where_it_was() -> None:
    pieces, receiver, room = Pieces(None), Pieces(None), [0]
    found: list[Came] = []

    def hand_over(parts: list[zmq.Frame]) -> bool:
        if room[0]:
            room[0] -= 1
            found.extend(receiver.read([zmq.Frame(part.bytes) for part in parts]))
            return True
        return False

    long: Link = (HEADER, (DATA[: 7 * PIECE],))
    pieces.begin(long)
    for _ in range(8):
        assert pieces.leaves
        room[0] = 1
        pieces.go_on(hand_over)
    assert not pieces.leaves
    assert found == [long]


def test_what_finds_no_room_is_said_later() -> None:
    receiver, heard = Pieces(None, asks=True), list[dict[str, object]]()

    def say(parts: list[zmq.Frame]) -> bool:
        heard.append(codec.decode(parts[0].bytes))
        return True

    announced, *pieces = sent((HEADER, (DATA[: 6 * PIECE],)))
    for parts in (announced, *pieces[:3]):
        receiver.read(parts)
    for _ in range(3):
        receiver.go_on(full)
    receiver.go_on(say)
    receiver.go_on(refuse)
    assert heard == [{"type": "taken", "long": 1, "bytes": 3 * PIECE}]
    receiver.read(piece(b"another"))
    receiver.go_on(full)
    receiver.go_on(say)
    receiver.go_on(refuse)
    assert heard[1:] == [{"type": "unknown"}]


def test_what_was_leaving_and_is_gone_is_given_up() -> None:
    class Gone(OnDisk):
        def pieces(self, size: int) -> Iterator[Buffer]:
            yield self._data[:size]
            raise GoneError

    pieces, handed = Pieces(None, asks=True), list[object]()
    pieces.begin((HEADER, (b"envelope", Gone(DATA))))
    pieces.go_on(lambda parts: not handed.append(parts))
    assert (len(handed), pieces.leaves, pieces.is_gone) == (3, False, True)
    pieces.go_on(lambda parts: not handed.append(codec.decode(parts[0].bytes)))
    assert handed[3:] == [{"type": "unknown"}]


def test_of_what_is_announced_too_long_nothing_is_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path / "none", len(DATA))  # a folder that is not there: no file is made
    assert came(pieces, (HEADER, (b"envelope", DATA))) == []
    assert pieces.refused == [(HEADER, len(DATA) + 8)]
    assert pieces.arriving is None
    short: Link = (HEADER, (DATA[: 2 * PIECE],))
    assert came(pieces, short) == [short]


# --- Over real connections --------------------------------------------------------------------------------------------


def test_a_member_that_reads_nothing_is_sent_little_of_a_long_message(pairs: list[Pair]) -> None:
    pair = Pair()
    pairs.append(pair)
    long = (b"envelope", DATA * 4)
    assert pair.aggregator.send(pair.connection, {"type": "entry", "number": 0}, *long)
    for _ in range(20):
        list(pair.aggregator.receive())
        assert pair.aggregator.send(pair.connection, {"type": "entry", "number": 1}, b"next") is False
        assert pair.aggregator.send(pair.connection, {"type": "beat"}) is True
    (_, pieces) = pair.aggregator._pieces[pair.connection]
    assert ON_THE_WAY <= pieces._sent < ON_THE_WAY + PIECE
    found = []

    def arrives() -> bool:
        list(pair.aggregator.receive())
        found.extend(one for one in pair.member.receive() if one.frames)
        return bool(found)

    wait_for(arrives)
    assert tuple(map(bytes, found[0].frames)) == long
    assert wait_for(lambda: pair.aggregator.send(pair.connection, {"type": "entry", "number": 1}, b"next"))


def test_what_the_aggregator_has_lost_of_a_long_message_comes_again(pairs: list[Pair]) -> None:
    pair = Pair()
    pairs.append(pair)
    long = ({"type": "message", "number": 0}, (b"envelope", DATA * 2))
    assert pair.member.send_all(long)
    wait_for(lambda: list(pair.aggregator.receive()) or pair.aggregator._pieces[pair.connection][1].arriving)
    pair.aggregator._forget(pair.connection)  # as when the number of its descriptor was another connection's before
    heard: list[str] = []
    found: list[Received] = []

    def comes() -> bool:
        found.extend(one for one in pair.aggregator.receive() if one.frames)
        for one in pair.member.receive():
            heard.append(one.header["type"])
            if one.header["type"] == "unknown":
                pair.member.greet({})
                assert pair.member.send_all(long)
        return bool(found)

    wait_for(comes)
    assert heard == ["unknown"]
    assert (found[0].header, tuple(map(bytes, found[0].frames))) == long


def test_a_message_that_is_longer_than_the_limit_comes_as_its_size(pairs: list[Pair]) -> None:
    pair = Pair(limits=Limits(message_bytes=2**23, unread_bytes=2**23))
    pairs.append(pair)
    found: list[Received] = []
    for end, other, header in (
        (pair.member, pair.aggregator, {"type": "message", "number": 0}),
        (pair.aggregator, pair.member, {"type": "entry", "number": 0}),
    ):
        message = header, (b"envelope", bytes(2**23))
        if end is pair.member:
            assert pair.member.send_all(message)
        else:
            assert pair.aggregator.send_all([pair.connection], message) == [True]

        def comes(other: object = other) -> bool:
            for one in (pair.aggregator, pair.member):
                found.extend(r for r in one.receive() if one is other and (r.frames or r.too_long))
            return bool(found)

        wait_for(comes)
        one = found.pop()
        assert (one.header, one.frames, one.too_long, one.size) == (header, (), 2**23 + 8, 2**23 + 8)


def test_who_brings_what_finds_no_room_is_cut_off_and_nobody_else(pairs: list[Pair], tmp_path: Path) -> None:
    pair = Pair()
    pairs.append(pair)
    pair.aggregator._new_pieces = partial(Pieces, tmp_path / "none", asks=True)  # type: ignore[assignment]
    pair.aggregator._forget(pair.connection)
    pair.member.send({"type": "beat"})
    pair.at_aggregator()
    assert pair.member.send({"type": "message", "number": 0}, b"envelope", DATA)

    def is_cut_off() -> bool:
        assert list(pair.aggregator.receive()) == []
        pair.member.news()
        return not pair.member.connected

    wait_for(is_cut_off)


def test_of_one_member_the_newest_long_message_is_on_its_way(pairs: list[Pair]) -> None:
    pair = Pair()
    pairs.append(pair)
    for connection, number in ((b"one", 1), (b"other", 2)):
        for parts in sent(({"type": "message", "number": number}, (b"envelope", DATA)))[:3]:
            assert pair.aggregator._read("orebro", connection, parts) == []
    assert pair.aggregator._pieces[b"one"][1].arriving is None
    assert pair.aggregator._pieces[b"other"][1].arriving is not None
    assert SAY < ON_THE_WAY
