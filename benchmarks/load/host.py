"""Regions of a load test in one process: python -m benchmarks.load.host FILE.

Each region is the real one (`RegionNode`) on a thread of its own, with its own folder, store, identity and connection;
only its work is made up: a vector of a given length, the same in each round but for its size. Standard input is the
line to the parent: at its end the process writes what it has used into a file, and ends.
"""

import gc
import json
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zmq

from benchmarks.load.tcp import Meter
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.parameters import PROFILES
from hefed.crypto.selftest import self_test
from hefed.node.consent import Verdict
from hefed.node.identity import Identity
from hefed.node.member_link import MemberLink
from hefed.node.process import ROSTER
from hefed.node.region import RegionNode
from hefed.node.store import Store
from hefed.protocol.board import Board
from hefed.protocol.ports import Finding, Vault, Vector
from hefed.protocol.roster import Roster

log = logging.getLogger(__name__)

_AT_ONCE = 2**16
"""Values of a made-up vector that are made at a time."""


@dataclass(frozen=True)
class HostConfig:
    """What a host needs to know."""

    folder: str
    """Where each region has a folder with its identity and roster."""
    names: tuple[str, ...]
    endpoint: str
    values: int
    rounds: int
    report: str
    """Where to write what was used."""


@dataclass(frozen=True)
class Used:
    """What a process has used."""

    cpu: float
    """Seconds."""
    peak: int
    """Bytes of memory, at most at a time."""
    received: int
    sent: int
    """Bytes on its connections to the aggregator."""
    connections: int
    """How many there were: one a region, unless some broke."""


class MadeUpWork:
    """Implements `hefed.protocol.ports.Work`: region i of n adds i/n of a vector that everybody knows."""

    def __init__(self, name: str, board: Board, values: int, rounds: int) -> None:
        self._name, self._board, self._values, self._rounds = name, board, values, rounds
        self._done = 0
        self.rows = None

    def _vector(self, share: float, begin: int, end: int) -> npt.NDArray[np.float64]:
        return np.cos(np.arange(begin, end, dtype=np.float64)) * (share / (1 + self._done))

    def _parts(self) -> Iterator[slice]:
        """Of the vector, so that nothing else of its length is made."""
        return (slice(start, start + _AT_ONCE) for start in range(0, self._values, _AT_ONCE))

    def commitment(self, salt: bytes) -> bytes:
        """See `Work`."""
        return tagged_hash("load", salt)

    def vector(self) -> Vector | None:
        """See `Work`."""
        return Vector("load", np.zeros(self._values, np.int16)) if self._done < self._rounds else None

    def contribution(self) -> npt.NDArray[np.float64]:
        """See `Work`."""
        names, vector = self._board.study.contributors, np.empty(self._values)
        for part in self._parts():
            share = (1 + names.index(self._name)) / len(names)
            vector[part] = self._vector(share, part.start, part.start + len(vector[part]))
        return vector

    def step(self, total: npt.NDArray[np.float64]) -> None:
        """See `Work`. Raises AssertionError, which ends the study, when the sum is not the right one."""
        share = (1 + len(self._board.study.contributors)) / 2
        for part in self._parts():
            expected = self._vector(share, part.start, part.start + len(total[part]))
            np.testing.assert_allclose(total[part], expected, rtol=0, atol=1e-4)
        self._done += 1

    def finding(self) -> Finding:
        """See `Work`."""
        return Finding("result", {"rounds": self._done})

    def decisions(self) -> tuple[str, ...]:
        """See `Work`."""
        return (f"{self._done} rounds",)


class MadeUpConsent:
    """Stands for `hefed.node.consent.Consent`: takes part in everything, without a table."""

    def __init__(self, name: str, values: int, rounds: int) -> None:
        self._name, self._values, self._rounds = name, values, rounds

    def verdict(self, board: Board) -> Verdict:
        """Yes."""
        return Verdict("approve", "for a load test")

    def withdrawn(self, study: bytes) -> str | None:
        """Never."""
        return None

    def prepare(self, board: Board, vault: Vault) -> MadeUpWork:
        """The work in this study."""
        return MadeUpWork(self._name, board, self._values, self._rounds)


class _Line:
    """What a region's node looks at to know when to stop; all nodes of the process share the descriptor."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self.descriptors = [read]
        self.cut = False

    def look(self) -> bool:
        return self.cut

    def end(self) -> None:
        self.cut = True
        os.close(self._write)


def _serve(config: HostConfig, name: str, context: "zmq.Context[zmq.Socket[bytes]]", line: _Line) -> None:
    folder = Path(config.folder) / name
    roster, identity = Roster.from_bytes((folder / ROSTER).read_bytes()), Identity.load(folder)
    link = MemberLink(context, identity, roster, [config.endpoint], folder=Path(config.folder))
    try:
        RegionNode(
            name=name,
            roster=roster,
            identity=identity,
            store=Store(folder),
            link=link,
            consent=MadeUpConsent(name, config.values, config.rounds),  # answers the same calls
        ).run(line)  # a lifeline that any thread can follow
    except BaseException:
        log.exception("%s has stopped", name)
        os._exit(1)  # the parent sees it
    finally:
        link.close()


def main(path: Path) -> None:
    """Runs the regions that a file names until standard input ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    config = HostConfig(**json.loads(path.read_text()))
    for profile in PROFILES.values():
        self_test(profile)
    gc.freeze()  # as `hefed node` does
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=min(2, len(config.names)))
    context.set(zmq.MAX_SOCKETS, 16 * len(config.names) + 64)
    line = _Line()
    threads = [threading.Thread(target=_serve, args=(config, name, context, line)) for name in config.names]
    for thread in threads:
        thread.start()
    meter = Meter(int(config.endpoint.rpartition(":")[2]))
    begun = _processor_seconds()
    sys.stdin.read()
    received, sent, connections = meter.end()
    used = Used(
        _processor_seconds() - begun,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        received,
        sent,
        connections,
    )
    Path(config.report).write_text(json.dumps(asdict(used)))
    line.end()
    for thread in threads:
        thread.join()
    context.destroy(linger=0)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]))
