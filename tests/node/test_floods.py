"""Floods of small things: frames, connections, greetings, lines of the log; each costs whoever sends it little."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from hefed.node.frames import MAX_PARTS, parts_of
from hefed.node.link import TURN, AggregatorLink, MemberLink
from tests.node.runs import wait_for
from tests.node.test_bounds import Pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def _resident() -> float:
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("to", ["aggregator", "member"])
def test_a_message_of_a_million_frames_costs_little_and_ends_its_connection(pair: Pair, to: str) -> None:
    link: AggregatorLink | MemberLink = getattr(pair, to)
    source = pair.member.socket if to == "aggregator" else pair.aggregator.socket
    if to == "member":
        source.send(pair.connection, zmq.SNDMORE)
    for _ in range(1_000_000):
        source.send(b"", zmq.SNDMORE)
    source.send(b"")
    wait_for(lambda: link.socket.poll(100))
    stopped, most, longest = threading.Event(), [_resident()], 0.0
    before = most[0]

    def watch() -> None:
        while not stopped.wait(0.005):
            most[0] = max(most[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        until = time.monotonic() + 30
        while link.socket.poll(200) and time.monotonic() < until:
            start = time.monotonic()
            assert [one for one in link.receive() if one.frames] == []
            longest = max(longest, time.monotonic() - start)
    finally:
        stopped.set()
        watcher.join()
    assert longest < 3 * TURN
    assert most[0] - before < 60
    wait_for(lambda: pair.member.news() or not pair.member.connected)


def test_the_longest_message_is_taken_and_one_frame_more_is_not(pair: Pair) -> None:
    (header,) = parts_of({"type": "message", "sizes": []}, [])
    for frames, known in ((MAX_PARTS, True), (MAX_PARTS + 1, False)):
        pair.member.socket.send_multipart([header, *[b""] * (frames - 1)], copy=True)
        wait_for(lambda: pair.aggregator.socket.poll(100))
        assert list(pair.aggregator.receive()) == []  # neither is of our form
        until = time.monotonic() + 2
        while pair.member.connected and time.monotonic() < until:
            pair.member.news()
            time.sleep(0.05)
        assert pair.member.connected is known
