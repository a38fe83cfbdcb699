"""What one end of a link can make the other hold: messages without end, queues that nobody reads, half a handshake."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zmq

from hefed.node.aggregator_link import AggregatorLink
from hefed.node.frames import TOGETHER, parts_of
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.link import Received
from hefed.node.member_link import MemberLink
from hefed.node.traffic import Traffic, _read
from hefed.protocol.roster import Roster
from tests.node.proxies import Throttled
from tests.node.runs import wait_for

PIECE = os.urandom(2**20)
FRAME = USUAL.frame_bytes
RATE = 40_000_000
"""Bytes a second of a line over which 200 pieces take longer than the looks at it are apart, on any machine."""


class Pair:
    """An aggregator's link and a member's, connected."""

    def __init__(
        self,
        *,
        at_aggregator: Traffic | None = None,
        at_member: Traffic | None = None,
        rate: int | None = None,
        limits: Limits = USUAL,
    ) -> None:
        """`rate` is of the line between them, in bytes a second; `limits` are of both ends."""
        aggregator, self.orebro = Identity.passing(), Identity.passing()
        members = [aggregator.member("aggregator", ("aggregator",)), self.orebro.member("orebro", ("contributor",))]
        self.roster = Roster.of("test", 1, members)
        # Two contexts, so that neither end's queues are the other's.
        self.contexts: tuple[zmq.Context[zmq.Socket[bytes]], zmq.Context[zmq.Socket[bytes]]]
        self.contexts = zmq.Context(), zmq.Context()
        self.aggregator = AggregatorLink(
            self.contexts[0], aggregator, self.roster, "127.0.0.1:0", limits=limits, traffic=at_aggregator
        )
        address = self.aggregator.address
        self.line = Throttled(0, ("127.0.0.1", int(address.rpartition(":")[2])), rate) if rate else None
        if self.line:
            address = self.line.address
        self.member = self.another(address, limits, at_member)
        wait_for(self.member.news)
        self.member.send({"type": "hello"})
        self.connection = self.at_aggregator().connection

    def another(self, address: str = "", limits: Limits = USUAL, traffic: Traffic | None = None) -> MemberLink:
        """A connection of the member's."""
        where = [address or self.aggregator.address]
        return MemberLink(self.contexts[1], self.orebro, self.roster, where, limits=limits, traffic=traffic)

    def at_aggregator(self) -> Received:
        """The next message that comes to the aggregator."""
        found: list[Received] = wait_for(lambda: list(self.aggregator.receive()))
        return found[0]

    def close(self) -> None:
        self.aggregator.close()
        self.member.close()
        if self.line:
            self.line.close()
        for context in self.contexts:
            context.destroy(linger=0)


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made: list[Pair] = []
    yield made
    for pair in made:
        pair.close()


def parts(frames: int) -> list[zmq.Frame]:
    """One of ZeroMQ's messages that is longer than any of ours."""
    return [*parts_of(({"type": "message"}, ())), *[zmq.Frame(PIECE, copy=False)] * frames]


def test_a_member_whose_message_is_longer_than_any_is_cut_off(pairs: list[Pair]) -> None:
    pair = Pair(at_aggregator=Traffic(most=20 * len(PIECE)), rate=RATE)
    pairs.append(pair)
    pair.member.socket.send_multipart(parts(18), copy=False)
    pair.member.send({"type": "beat"})
    assert pair.at_aggregator().header == {"type": "beat"}  # the other one is no message, and no reason to cut off
    pair.member.socket.send_multipart(parts(200), copy=False)

    def is_cut_off() -> bool:
        assert list(pair.aggregator.receive()) == []
        pair.member.news()
        return not pair.member.connected

    wait_for(is_cut_off)
    trouble = pair.member.trouble()
    assert trouble is not None
    assert trouble.sentence.startswith("the connection to aggregator at 127.0.0.1:")


def test_an_aggregator_whose_message_is_longer_than_any_is_cut_off(pairs: list[Pair]) -> None:
    pair = Pair(at_member=Traffic(most=20 * len(PIECE), most_before=20 * len(PIECE)), rate=RATE)
    pairs.append(pair)
    pair.aggregator.socket.send_multipart([pair.connection, *parts(18)], copy=False)
    pair.aggregator.send(pair.connection, {"type": "beat"})
    wait_for(lambda: [one for one in pair.member.receive() if one.header == {"type": "beat"}])
    pair.aggregator.socket.send_multipart([pair.connection, *parts(200)], copy=False)

    def is_cut_off() -> bool:
        assert list(pair.member.receive()) == []
        pair.member.news()
        return not pair.member.connected

    wait_for(is_cut_off)


def test_what_is_taken_from_a_connection_is_counted_to_the_byte(pairs: list[Pair]) -> None:
    traffic = Traffic(most=len(PIECE) + 50_000)
    pair = Pair(at_aggregator=traffic)
    pairs.append(pair)
    for size in (0, 1, 200, 222, 223, 300, 2**17, 2**17 + 1, len(PIECE), *[len(PIECE)] * 30):
        assert pair.member.send({"type": "message"}, PIECE[:size])

        def comes() -> list[Received]:
            list(pair.member.receive())  # which hears what was taken
            return list(pair.aggregator.receive())

        assert len(wait_for(comes)[0].frames[0]) == size
    (one,) = traffic._open.values()
    descriptor = next(iter(traffic._open))
    counts = _read(descriptor)
    assert counts is not None
    assert 0 <= counts[1] - one.taken < 3000  # the handshake, and signs of life
    assert pair.member.connected


def test_of_many_messages_that_are_not_whole_the_longest_is_cut_off(pairs: list[Pair]) -> None:
    pair = Pair(at_aggregator=Traffic(most_together=10 * len(PIECE)), rate=RATE)
    pairs.append(pair)
    pair.member.socket.send_multipart(parts(200), copy=False)

    def is_cut_off() -> bool:
        pair.member.news()
        return not pair.member.connected

    wait_for(is_cut_off)
    assert not any(one.frames for one in pair.aggregator.receive())


@pytest.mark.parametrize("window", [2**20, 2**30], ids=["bounded", "far above it"])
def test_whose_line_takes_no_more_is_sent_no_more(pairs: list[Pair], window: int) -> None:
    pair = Pair(limits=Limits(waiting_bytes=window), rate=1_500_000)
    pairs.append(pair)
    waits = 0
    taken = 0
    short = PIECE[:TOGETHER]
    while waits < 5 and taken < 2000:
        if pair.aggregator.send(pair.connection, {"type": "entry", "number": taken}, short):
            taken, waits = taken + 1, 0
        else:
            waits += 1
            time.sleep(0.01)
    if window == 2**30:
        assert taken >= USUAL.waiting_messages  # all of it waits in our memory
        return
    assert taken < USUAL.waiting_messages // 4  # the kernels' buffers and the window
    assert pair.aggregator.send(pair.connection, {"type": "beat"})  # what is short still finds room
    numbers = []

    def read() -> bool:
        numbers.extend(one.header["number"] for one in pair.member.receive() if one.header["type"] == "entry")
        return len(numbers) == taken

    wait_for(read)
    assert numbers == list(range(taken))
    assert wait_for(lambda: pair.aggregator.send(pair.connection, {"type": "entry", "number": taken}, short))


@pytest.mark.parametrize(
    ("most", "stated"),
    [(FRAME, FRAME), (FRAME, FRAME + 1), (FRAME, 2**29), (FRAME, 2**62), (2**19, 2**19), (2**19, 2**19 + 1)],
)
def test_who_has_not_said_who_it_is_can_send_little(pairs: list[Pair], most: int, stated: int) -> None:
    pair = Pair(limits=Limits(frame_bytes=most))
    pairs.append(pair)
    host, _, port = pair.aggregator.address.rpartition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32))
        raw.settimeout(0.05)
        is_cut_off = False
        try:
            raw.sendall(b"\x06" + stated.to_bytes(8))  # a command of that length, of which a part comes
            for _ in range(20):
                list(pair.aggregator.receive())
                raw.sendall(bytes(1000))
                with suppress(TimeoutError):
                    is_cut_off = is_cut_off or len(raw.recv(1000)) == 0  # after its own greeting it closes or waits
        except OSError:
            is_cut_off = True
    assert is_cut_off == (stated > most)


@pytest.mark.parametrize("in_pieces", [True, False], ids=["in pieces", "in one frame"])
def test_a_long_message_on_a_slow_line_is_not_taken_for_silence(
    pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, in_pieces: bool
) -> None:
    if not in_pieces:
        monkeypatch.setattr("hefed.node.frames.PIECE", 2**24)
    pair = Pair(rate=100_000, limits=USUAL if in_pieces else Limits(frame_bytes=2**24))
    pairs.append(pair)
    assert pair.member.send({"type": "message"}, PIECE[:900_000])
    until, beat, reconnections = time.monotonic() + 25, 0.0, 0
    arrived: list[Received] = []
    while not arrived and reconnections < 1 and time.monotonic() < until:
        reconnections += pair.member.news()
        arrived += [one for one in pair.aggregator.receive() if one.frames]
        list(pair.member.receive())
        if time.monotonic() - beat > 1:
            beat = time.monotonic()
            pair.member.send({"type": "beat"})
            pair.aggregator.send(pair.connection, {"type": "beat"})
        time.sleep(0.02)
    if in_pieces:
        assert reconnections == 0
        assert [one.frames for one in arrived] == [(PIECE[:900_000],)]
    else:
        assert arrived == []  # ZeroMQ takes the sender for dead in the middle of it, every time
