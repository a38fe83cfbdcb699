"""Floods of small things: frames, connections, greetings, lines of the log; each costs whoever sends it little."""

import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from hefed.node.aggregator_link import AggregatorLink
from hefed.node.frames import MAX_PARTS, parts_of
from hefed.node.home import Home
from hefed.node.link import TURN
from hefed.node.member_link import MemberLink
from hefed.node.traffic import Traffic
from tests.node.homes import make_federation
from tests.node.runs import environment, free_port, wait_for
from tests.node.test_bounds import Pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def megabytes(of: str) -> float:
    """This process's memory: VmRSS now, VmHWM at most since the last `clear`."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(of)]
    return int(line.split()[1]) / 1024


def clear() -> float:
    """Begins to look for the most memory anew; returns what it is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return megabytes("VmRSS")


@pytest.mark.parametrize("to", ["aggregator", "member"])
def test_a_message_of_very_many_frames_costs_little_and_ends_its_connection(pair: Pair, to: str) -> None:
    link: AggregatorLink | MemberLink = getattr(pair, to)
    source = pair.member.socket if to == "aggregator" else pair.aggregator.socket
    if to == "member":
        source.send(pair.connection, zmq.SNDMORE)
    for _ in range(300_000):
        source.send(b"", zmq.SNDMORE)
    source.send(b"")
    wait_for(lambda: link.socket.poll(100))
    before, longest, until = clear(), 0.0, time.monotonic() + 60
    while link.socket.poll(200) and time.monotonic() < until:
        start = time.thread_time()  # others may keep this machine busy
        assert [one for one in link.receive() if one.frames] == []
        longest = max(longest, time.thread_time() - start)
    assert longest < 2 * TURN
    assert megabytes("VmHWM") - before < 30
    wait_for(lambda: pair.member.news() or not pair.member.connected)


def test_the_longest_message_is_taken_and_one_frame_more_is_not(pair: Pair) -> None:
    (header,) = parts_of(({"type": "message", "sizes": []}, ()))
    for frames, known in ((MAX_PARTS, True), (MAX_PARTS + 1, False)):
        pair.member.socket.send_multipart([header, *[b""] * (frames - 1)], copy=True)
        wait_for(lambda: pair.aggregator.socket.poll(100))
        assert list(pair.aggregator.receive()) == []  # neither is of our form
        until = time.monotonic() + 2
        while pair.member.connected and time.monotonic() < until:
            pair.member.news()
            time.sleep(0.05)
        assert pair.member.connected is known


@pytest.mark.parametrize("to", ["aggregator", "member"])
def test_messages_that_take_long_leave_time_for_other_things(pair: Pair, to: str) -> None:
    link: AggregatorLink | MemberLink = getattr(pair, to)
    for number in range(100):
        if to == "aggregator":
            pair.member.send({"type": "message", "number": number})
        else:
            pair.aggregator.send(pair.connection, {"type": "message", "number": number})
    wait_for(lambda: link.socket.poll(100))
    time.sleep(0.5)
    turns: list[list[int]] = []
    while sum(map(len, turns)) < 100 and len(turns) < 100:
        turns.append([])
        for received in link.receive():
            turns[-1].append(received.header["number"])
            time.sleep(TURN / 8)
    assert [number for turn in turns for number in turn] == list(range(100))
    assert max(map(len, turns)) <= 9


def silent(address: str, number: int, source: str = "127.0.0.1") -> list[socket.socket]:
    host, _, port = address.rpartition(":")
    return [socket.create_connection((host, int(port)), 5, (source, 0)) for _ in range(number)]


def ended(connections: list[socket.socket]) -> list[bool]:
    """Of each, whether the other end has closed it; its greeting may have come before."""
    found = []
    for one in connections:
        one.setblocking(False)
        over = False
        with suppress(BlockingIOError):
            try:
                while not over:
                    over = one.recv(1000) == b""
            except ConnectionError:
                over = True
        found.append(over)
    return found


def test_of_connections_that_say_nothing_the_oldest_are_cut_off_first_those_of_one_address() -> None:
    made = Pair(at_aggregator=Traffic(strangers=16))
    try:
        many = silent(made.aggregator.address, 12)
        others = [one for host in range(2, 6) for one in silent(made.aggregator.address, 4, f"127.0.0.{host}")]

        def cut(number: int) -> bool:
            list(made.aggregator.receive())
            return sum(ended([*many, *others])) == number

        wait_for(lambda: cut(12))
        assert ended(many) == [True] * 12  # four are of one address, and sixteen came after those
        assert ended(others) == [False] * 16
        made.member.news()
        assert made.member.connected  # it has spoken
        for one in (*many, *others):
            one.close()
    finally:
        made.close()


def test_idle_connections_neither_stop_the_aggregator_nor_keep_a_member_out(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    homes = make_federation(tmp_path, ["halland", "orebro", "kronoberg"], address)
    log = tmp_path / "log"
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256));import hefed.cli; hefed.cli.main()"
    )
    command = [sys.executable, "-c", program, "aggregator", "--home", str(homes["aggregator"])]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stopped = threading.Event()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))

    def flood() -> None:
        held: list[socket.socket] = []
        while not stopped.is_set():
            with suppress(OSError):
                held += silent(address, 1)
            if len(held) > 600:
                held.pop(0).close()
        for one in held:
            one.close()

    flooding = threading.Thread(target=flood)
    home = Home(homes["halland"])
    roster = home.in_force()
    assert roster is not None
    link = MemberLink(context, home.identity, roster, [address])

    def greeted() -> bool:
        assert process.poll() is None, log.read_text()
        if link.news():
            link.greet({})
        list(link.receive())
        return link.greeted

    try:
        wait_for(greeted)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (256, 256)  # all that the system allows
        flooding.start()
        until = time.monotonic() + 8
        while time.monotonic() < until:
            greeted()
            time.sleep(0.05)
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) <= 256
        wait_for(greeted)
        link.close()
        link = MemberLink(context, home.identity, roster, [address])
        wait_for(greeted)
    finally:
        stopped.set()
        if flooding.ident:
            flooding.join()
        link.close()
        process.terminate()
        process.wait()
        context.destroy(linger=0)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
