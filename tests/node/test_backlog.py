"""A party that computes for long takes nothing from its connection meanwhile. It must neither lose it for that nor end.

libzmq stops reading where a bound on waiting messages is reached, takes its peer for dead, connects again, and then
can abort the whole process ("Assertion failed: _input_stopped").
"""

import subprocess
import sys
import time

from tests.node.runs import environment
from tests.node.test_bounds import Pair

MESSAGES = 200
BUSY = 14.0
"""Seconds, longer than a peer may be silent, and a connection takes to be made again."""


def _member_is_busy() -> None:
    pair, until = Pair(), time.monotonic() + BUSY + 30
    for number in range(MESSAGES):
        assert pair.aggregator.send(pair.connection, {"type": "entry", "number": number}, bytes(1000)) is True
    time.sleep(BUSY)
    assert not pair.member.news(), "it had to greet again"
    numbers: list[int] = []
    while len(numbers) < MESSAGES and time.monotonic() < until:
        numbers += [one.header["number"] for one in pair.member.receive()]
    assert numbers == list(range(MESSAGES))
    pair.close()


def _aggregator_is_busy() -> None:
    pair, until = Pair(), time.monotonic() + BUSY + 30
    for number in range(MESSAGES):
        assert pair.member.send({"type": "message", "number": number}, bytes(1000))
    time.sleep(BUSY)
    assert not pair.member.news(), "it had to greet again"
    numbers: list[int] = []
    while len(numbers) < MESSAGES and time.monotonic() < until:
        numbers += [one.header["number"] for one in pair.aggregator.receive()]
    assert numbers == list(range(MESSAGES))
    pair.close()


def test_a_busy_party_keeps_its_connection_and_takes_all_that_came_meanwhile() -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"from tests.node import test_backlog; test_backlog.{who}()"],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in ("_member_is_busy", "_aggregator_is_busy")
    ]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    for words, code in ends:
        assert code == 0, words[-2000:]
