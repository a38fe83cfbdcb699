"""One case of the load test: a real aggregator and its regions on loopback, followed to the end and measured.

The aggregator is the process that `hefed simulate` starts. One contributor and one keyholder (who contributes too) have
a process of their own, so that theirs can be told; all other regions share some. Relies on Linux: /proc, TCP_INFO.
"""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import zmq

from benchmarks.load.host import HostConfig, Used
from benchmarks.load.tcp import Meter
from hefed.node.analyst import AnalystClient, Submission
from hefed.node.member_link import MemberLink
from hefed.node.parties import AGGREGATOR, ANALYST, Parties
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.study import Study

ROOT = Path(__file__).parents[2]
KEYHOLDERS, THRESHOLD = 3, 2
TOGETHER = 20
"""Regions in one process at most: with a hundred threads in turn, each waits too long."""
PATIENCE = 1800
"""Seconds a phase may take: on a few cores, hundreds of regions stand in each other's way."""


@dataclass(frozen=True)
class Case:
    """So many contributors send a vector of so many values, in so many rounds after the known answer."""

    contributors: int
    values: int
    rounds: int = 2
    profile: str = "precise"
    engine: str = "tenseal"

    @classmethod
    def of(cls, words: str, **others: int | str) -> "Case":
        """From "200x231". Raises ValueError."""
        contributors, values = words.split("x")
        return cls(int(contributors), int(values), **others)

    @property
    def names(self) -> list[str]:
        """The regions; the first few are the keyholders."""
        return [f"region-{i:03d}" for i in range(self.contributors)]

    def study(self) -> Study:
        """The study; its model stands for one that asks for such a vector."""
        return Study.from_public(
            {
                "study": {"id": "load", "purpose": "to see what an aggregator needs"},
                "model": {
                    "kind": "logistic", "covariates": ["x"], "outcome": "y", "missing": "refuse", "ridge": 0.0,
                },
                "security": {
                    "threshold": THRESHOLD, "min_contributors": THRESHOLD + 1, "profile": self.profile,
                    "engine": self.engine, "keyholders": self.names[:KEYHOLDERS], "readers": self.names,
                    "deadline": f"{2 * PATIENCE} s",
                },
                "limits": {
                    "rounds": 40, "step": 2.0, "linear_predictor": 100.0, "min_effective": 5.0, "min_events": 5,
                    "wait": f"{PATIENCE} s",
                },
                "contributors": self.names,
            }
        )  # fmt: skip


@dataclass(frozen=True)
class Party:
    """What one party needed for the whole study."""

    cpu: float
    """Seconds of a processor."""
    peak: int
    """Bytes of memory at most, the program's own 200 MB or so included."""
    received: int
    sent: int
    """Bytes on the wire."""
    disk: int
    """Bytes of its database and write-ahead log at the end."""


@dataclass(frozen=True)
class Stage:
    """A part of a study: set-up, a round, closing."""

    name: str
    seconds: float
    aggregator_cpu: float


@dataclass(frozen=True)
class Measured:
    """A case and what it took."""

    case: Case
    seconds: float
    messages: int
    stages: list[Stage]
    aggregator: Party
    contributor: Party
    keyholder: Party
    broken: int
    """Connections of regions that were made again."""
    load: float
    """Processes that wanted to run, on average over the last minute."""

    @property
    def last_round(self) -> Stage:
        """A round like every other: the last one."""
        return [stage for stage in self.stages if stage.name.startswith("round")][-1]

    def plain(self) -> dict[str, object]:
        """For a JSON file."""
        return asdict(self)


@dataclass
class _Processor:
    """Seconds of a processor that a process has used, every so often."""

    pid: int
    at: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)

    def look(self) -> None:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        self.at.append(time.time())
        self.used.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))

    def follow(self, stop: threading.Event) -> None:
        self.look()
        while not stop.wait(0.1):
            self.look()

    def between(self, begin: float, end: float) -> float:
        begun, ended = np.interp([begin, end], self.at, self.used)
        return float(ended - begun)


def measure(case: Case, folder: Path) -> Measured:
    """Runs a case in a new folder. Raises when a region stops, or the study does not end with the right sums."""
    with ExitStack() as stack:
        parties = stack.enter_context(Parties(folder, case.study()))
        submission = Submission(parties.study, parties.roster, ANALYST, int(time.time()) + 2 * PATIENCE)
        parties.configure(submission.study, 0)
        parties.start(AGGREGATOR)
        endpoint = _wait(parties.endpoint)
        hosts = [
            stack.enter_context(_Host(folder, case, endpoint, number, names))
            for number, names in enumerate(_shared_out(case.names))
        ]
        _wait(lambda: parties.log(AGGREGATOR).read_text().count(" is connected") >= case.contributors, hosts)
        stop = threading.Event()
        processor = _Processor(parties.processes[AGGREGATOR].pid)
        sampler = threading.Thread(target=processor.follow, args=(stop,))
        sampler.start()
        stack.callback(sampler.join)
        stack.callback(stop.set)
        received, sent = _follow(parties, submission, endpoint, hosts)
        _wait(lambda: not any(folder.glob("*/study-keys/*.key")), hosts)  # the regions have ended it too
        stop.set()
        sampler.join()
        peak = _peak(processor.pid)
        used = [host.end() for host in hosts]
        messages, stages = _stages(folder, processor)
        aggregator = Party(
            cpu=sum(stage.aggregator_cpu for stage in stages),
            peak=peak,
            received=sent + sum(one.sent for one in used),
            sent=received + sum(one.received for one in used),
            disk=_disk(folder / AGGREGATOR),
        )
        return Measured(
            case=case,
            seconds=sum(stage.seconds for stage in stages),
            messages=messages,
            stages=stages,
            aggregator=aggregator,
            keyholder=_party(used[0], folder / case.names[0]),
            contributor=_party(used[1], folder / case.names[-1]),
            broken=sum(one.connections for one in used) - case.contributors,
            load=os.getloadavg()[0],
        )


def _shared_out(names: list[str]) -> list[list[str]]:
    """The first keyholder alone, the last contributor alone, and the others over the cores, few enough in a process."""
    others = names[1:-1]
    processes = max(os.cpu_count() or 1, -(-len(others) // TOGETHER))
    return [names[:1], names[-1:], *filter(None, (others[i::processes] for i in range(processes)))]


class _Host:
    """A process with some of the regions."""

    def __init__(self, folder: Path, case: Case, endpoint: str, number: int, names: list[str]) -> None:
        self._report, self._log = folder / f"host-{number}.used", folder / f"host-{number}.txt"
        config = HostConfig(str(folder), tuple(names), endpoint, case.values, case.rounds, str(self._report))
        path = folder / f"host-{number}.json"
        path.write_text(json.dumps(asdict(config)))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "benchmarks.load.host", str(path)],
                stdin=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )

    def require(self) -> None:
        """Raises RuntimeError when it has stopped."""
        if self._process.poll() is not None:
            words = self._log.read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"a process with regions has stopped: {''.join(words)}; see {self._log}")

    def end(self) -> Used:
        """Ends it and returns what it has used."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(300)  # hundreds of regions close their databases on one disk
        return Used(**json.loads(self._report.read_text()))

    def __enter__(self) -> "_Host":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _follow(parties: Parties, submission: Submission, endpoint: str, hosts: list[_Host]) -> tuple[int, int]:
    """Submits the study and follows it to its result; returns what the analyst received and sent."""

    def watch(board: Board, message: m.Message | None) -> None:
        if message is None:
            parties.require_aggregator()
            for host in hosts:
                host.require()

    meter = Meter(int(endpoint.rpartition(":")[2]))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = MemberLink(context, parties.analyst, parties.roster, [endpoint])
    try:
        client = AnalystClient(name=ANALYST, identity=parties.analyst, link=link, submission=submission)
        board = client.follow(watch)
    finally:
        received, sent, _ = meter.end()
        link.close()
        context.destroy(linger=0)
    if board.outcome is None or board.outcome.how != "result":
        raise RuntimeError(f"the study did not end with a result: {board.outcome}")
    submission.open(board)
    return received, sent


def _stages(folder: Path, processor: _Processor) -> tuple[int, list[Stage]]:
    """From the times in the aggregator's own record."""
    with closing(sqlite3.connect(f"file:{folder / AGGREGATOR / 'state.sqlite'}?mode=ro", uri=True)) as db:
        rows: list[tuple[str, float]] = db.execute("SELECT kind, at FROM entry ORDER BY number").fetchall()
    marks = [("", rows[0][1])]
    ends = {"dealing": "approvals", "proposal": "keys", "cohort": "cohort", "closing": "closing"}
    for (kind, at), (following, _) in zip(rows, [*rows[1:], ("", 0.0)], strict=True):
        if kind == "sum":
            marks.append((f"round {sum(name.startswith('round') for name, _ in marks)}", at))
        elif kind in ends and kind != following:
            marks.append((ends[kind], at))
    merged = dict(marks)  # the last time of each, in the order of the first
    names, times = list(merged), list(merged.values())
    return len(rows), [
        Stage(name, end - begin, processor.between(begin, end))
        for name, begin, end in zip(names[1:], times[:-1], times[1:], strict=True)
    ]


def _party(used: Used, folder: Path) -> Party:
    return Party(used.cpu, used.peak, used.received, used.sent, _disk(folder))


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("state.sqlite*"))


def _peak(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


T = TypeVar("T")


def _wait(condition: Callable[[], T | None], hosts: Sequence[_Host] = (), seconds: float = 300.0) -> T:
    until = time.monotonic() + seconds
    while not (value := condition()):
        for host in hosts:
            host.require()
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.05)
    return value
