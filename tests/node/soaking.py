"""A federation of real homes and commands that runs for minutes: its processes, its wires, and what they take up.

Everybody dials the aggregator through a wire of their own, which a test can cut. What a process takes up is read from
the kernel, and what a home does from the disk.
"""

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hefed.study import Study
from tests.node.homes import make_federation, with_table
from tests.node.runs import EXAMPLES, REGIONS, command, environment, free_port, wait_for
from tests.node.wires import Wire

AGGREGATOR, ANALYST = "aggregator", "analyst"
HOST = "127.0.0.9"
"""Where the aggregator listens: no outgoing connection takes its port while it is away."""
KEEP_DAYS = 1e-4
"""Of all members, so that ciphertexts go 9 seconds after a study's end."""
STARTING = 120.0
"""Seconds that a process may take to start, on a machine with much else to do; bounds hanging only."""
EVENTS = 6
"""How often a study is disturbed at most."""


TELLING = """
import collections, gc, json, os, signal, sys

SECRET = {"Participation", "ContributorKey", "KeyholderPart", "ModelWork", "StudyVault", "LocalTable"}

def tell(*_):
    kinds = collections.Counter(type(one).__name__ for one in gc.get_objects())
    with open(sys.argv[-1] + ".told", "w") as file:
        json.dump({kind: count for kind, count in kinds.items() if kind in SECRET}, file)
    os.rename(file.name, sys.argv[-1] + ".held")

signal.signal(signal.SIGUSR1, tell)
from hefed.cli import main
main()
"""
"""hefed as it is, but for a signal at which it tells how many objects of some kinds it holds."""


# --- What a process takes up -----------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What one process and its home take up: memory in kilobytes, counts, bytes."""

    pid: int
    resident: int
    anonymous: int
    files: int
    threads: int
    disk: int

    def __str__(self) -> str:
        return (
            f"{self.resident / 1024:.1f} MB ({self.anonymous / 1024:.1f} its own), {self.files} files, "
            f"{self.threads} threads, {self.disk / 1024:.0f} kB on disk"
        )


def taken(pid: int, home: Path) -> Taken:
    """What a process and its home take up now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if value.strip()}
    return Taken(
        pid,
        int(status["VmRSS"]),
        int(status["RssAnon"]),
        len(os.listdir(f"/proc/{pid}/fd")),
        int(status["Threads"]),
        disk_of(home),
    )


def disk_of(home: Path) -> int:
    """Bytes of everything in a home; files may come and go meanwhile."""
    total = 0
    for folder, _, names in os.walk(home):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def slope(values: Sequence[float]) -> float:
    """Growth a step, by least squares."""
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    above = sum((number - middle) * (value - mean) for number, value in enumerate(values))
    return above / sum((number - middle) ** 2 for number in range(len(values)))


# --- The federation --------------------------------------------------------------------------------


class Federation:
    """An aggregator, three regions with tables and an analyst, each at home in a folder of its own."""

    def __init__(self, folder: Path, studies: Sequence[Study]) -> None:
        """`studies` are what the regions' policies grant."""
        self.folder = folder
        address = HOST, free_port()
        self.names = (AGGREGATOR, *REGIONS)
        self.wires = {name: Wire(address) for name in (*REGIONS, ANALYST)}
        self.submissions: list[Submission] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        make_federation(folder, REGIONS, f"{HOST}:{address[1]}")
        for name in (*REGIONS, ANALYST):
            self._settle(name, f'aggregator = ["127.0.0.1:{self.wires[name].port}"]', studies)
        self._settle(AGGREGATOR, f'bind = "{HOST}:{address[1]}"', studies)

    def _settle(self, name: str, network: str, studies: Sequence[Study]) -> None:
        text = f"[network]\n{network}\n[operation]\nkeep_days = {KEEP_DAYS}\n"
        if name in REGIONS:
            policy = {
                "approve": "within-policy",
                "columns": sorted({column for study in studies for column in study.model.columns}),
                "keyholders": list(REGIONS),
                "readers": list(REGIONS),
                "analysts": [ANALYST],
                "models": sorted({study.model.kind for study in studies}),
            }
            text += "[policy]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in policy.items())
            with_table(self.home(name), EXAMPLES / "heart-failure" / f"{name}.csv", text)
        else:
            self.home(name).joinpath("settings.toml").write_text(text)

    def home(self, name: str) -> Path:
        """A member's home."""
        return self.folder / name

    def log(self, name: str) -> str:
        """What a member's processes wrote, one after another."""
        return (self.folder / f"{name}.log").read_text()

    def taken(self) -> dict[str, Taken]:
        """What every process that runs and its home take up now."""
        with self._lock:
            return {name: taken(process.pid, self.home(name)) for name, process in self._processes.items()}

    def taken_in_rest(self) -> dict[str, Taken]:
        """The same, once no study runs, nothing is due to go from a disk, and no file or thread comes or goes."""
        self.wait_until_idle()
        wait_for(lambda: not any(self.ciphertexts(name) for name in self.names), STARTING)
        found: list[dict[str, Taken]] = [self.taken()]

        def level() -> bool:
            time.sleep(1.0)
            found.append(self.taken())
            return all(
                (now.files, now.threads) == (found[-2][name].files, found[-2][name].threads)
                for name, now in found[-1].items()
            )

        wait_for(level, STARTING)
        return found[-1]

    # --- its databases

    def rows(self, name: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a member's database says."""
        with closing(sqlite3.connect(f"file:{self.home(name) / 'state.sqlite'}?mode=ro", uri=True, timeout=20)) as db:
            return db.execute(statement, values).fetchall()

    def running(self, name: str) -> list[bytes]:
        """The studies that run at a member."""
        return [study for (study,) in self.rows(name, "SELECT study FROM study WHERE ended_at IS NULL")]

    def contributes(self, name: str) -> bool:
        """Whether a member has contributed to a study that runs."""
        statement = "SELECT 1 FROM sent JOIN study USING (study) WHERE ended_at IS NULL AND key LIKE 'contribution %'"
        return bool(self.rows(name, statement))

    def ciphertexts(self, name: str) -> int:
        """How many attachments a member keeps."""
        statement = "SELECT (SELECT count(*) FROM attachment) + (SELECT count(*) FROM sent_attachment)"
        return int(self.rows(name, statement)[0][0])

    def kept(self, name: str) -> int:
        """Bytes of the signed messages that a member keeps, by design for ten years."""
        statement = "SELECT total(length(envelope)) FROM {}"
        return sum(int(self.rows(name, statement.format(table))[0][0]) for table in ("entry", "sent"))

    # --- its processes

    def __enter__(self) -> "Federation":
        for name in self.names:
            self.start(name)
        self.wait_until_ready()
        return self

    def __exit__(self, *exception: object) -> None:
        for submission in self.submissions:
            submission.abandon()
        with self._lock:
            for process in self._processes.values():
                process.kill()
                process.wait()
        for wire in self.wires.values():
            wire.close()

    def start(self, name: str) -> None:
        """Starts a member's process, as its people do; it also tells, at a signal, what it holds in memory."""
        what = "aggregator" if name == AGGREGATOR else "node"
        arguments = what, "--home", str(self.home(name))
        with self._lock, (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-c", TELLING, *arguments],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        """Kills a member's process, as a power cut does, and waits for its end."""
        with self._lock:
            process = self._processes.pop(name)
            process.kill()
            process.wait()

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a member's process."""
        with self._lock:
            self._processes[name].send_signal(number)

    def held(self, name: str) -> dict[str, int]:
        """How many objects with secrets or patients of a study a member's process holds, by their kind."""
        told = self.home(name).with_suffix(".held")
        told.unlink(missing_ok=True)
        self.send_signal(name, signal.SIGUSR1)
        wait_for(told.exists, STARTING)
        return dict(json.loads(told.read_text()))

    def assert_alive(self) -> None:
        """No process has ended by itself, or met an error of its own."""
        with self._lock:
            ended = {name: code for name, process in self._processes.items() if (code := process.poll()) is not None}
        logs = {name: self.log(name) for name in self.names}
        assert not ended, {name: logs[name][-2000:] for name in ended}
        for log in logs.values():
            assert "Traceback" not in log, log
            assert "error of our own" not in log, log

    def wait_until_ready(self) -> None:
        """Waits after the first start until the aggregator has greeted every region."""

        def ready() -> bool:
            self.assert_alive()
            return all("ready: the aggregator has greeted" in self.log(name) for name in REGIONS)

        wait_for(ready, STARTING)

    def wait_until_idle(self) -> None:
        """Waits until no study runs anywhere."""
        wait_for(lambda: not any(self.running(name) for name in self.names), STARTING)


class Submission:
    """`hefed submit` of one study, run by a thread of its own: the same command again whenever it was killed."""

    def __init__(self, federation: Federation, study: Path, out: Path) -> None:
        self._command = command("submit", study, "--home", federation.home(ANALYST), "--out", out)
        self.out, self.kills = out, 0
        self.code: int | None = None
        self.said = ""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        federation.submissions.append(self)

    def _run(self) -> None:
        while self.code is None:
            with self._lock:
                if self.code is not None:
                    return
                process = self._process = subprocess.Popen(
                    self._command,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            said, _ = process.communicate()
            self.said += said
            if process.returncode != -signal.SIGKILL:
                # Who killed it once its result was written hears from the same command that it is there.
                there = self.kills and "result.json is there already" in said
                self.code = 0 if there else process.returncode

    def kill(self) -> bool:
        """Kills the command, if it runs."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return False
            process.kill()
            self.kills += 1
            return True

    def abandon(self) -> None:
        """Kills the command for good, if it runs."""
        with self._lock:
            self.code = -1 if self.code is None else self.code
        self.kill()
        self._thread.join()

    def wait(self, seconds: float) -> None:
        """Waits for the result; bounds hanging."""
        self._thread.join(seconds)
        hangs = self._thread.is_alive()
        if hangs:
            self.abandon()
        assert not hangs, f"{self.out.name} has not ended within {seconds:.0f} s: {self.said}"
        assert self.code == 0, self.said


# --- What goes wrong -------------------------------------------------------------------------------


class Disturber:
    """Kills and starts again, cuts, and stops for a while, at random moments, until it is told to leave."""

    def __init__(self, federation: Federation, seed: int, *, killed: Sequence[str], pause: float = 1.0) -> None:
        """`killed` are the members whose processes are killed, in turn; `pause`: seconds between two events, in the
        mean.
        """
        self._federation, self._killed, self._pause = federation, itertools.cycle(killed), pause
        self._random = random.Random(seed)  # noqa: S311  the same order of events every time
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None
        self._submissions: list[Submission] = []
        self._left = 0
        self.counts: Counter[str] = Counter()

    def attack(self, submissions: list[Submission]) -> None:
        """Turns to these studies. How often each is disturbed is bounded, so that it ends on a slow machine too."""
        self._submissions, self._left = submissions, EVENTS * len(submissions)

    def __enter__(self) -> "Disturber":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        events: tuple[Callable[[], None], ...] = (self._kill, self._cut, self._cut, self._stop, self._kill_submission)
        try:
            while not self._leave.wait(self._random.uniform(0.2, 2 * self._pause)):
                if self._left > 0:
                    self._left -= 1
                    self._random.choice(events)()
        except BaseException as error:
            self._error = error

    def _kill(self) -> None:
        name = next(self._killed)
        self._federation.kill(name)
        self._leave.wait(self._random.choice((0.0, 0.0, 1.0)))
        self._federation.start(name)
        self.counts[f"kills of {name}"] += 1

    def _cut(self) -> None:
        names = self._random.sample(sorted(self._federation.wires), self._random.choice((1, 1, 1, 4)))
        self.counts["cuts"] += sum(self._federation.wires[name].cut() for name in names)

    def _stop(self) -> None:
        name = self._random.choice(self._federation.names)
        self._federation.send_signal(name, signal.SIGSTOP)
        self._leave.wait(self._random.choice((0.5, 1.0, 2.0, 8.0)))
        self._federation.send_signal(name, signal.SIGCONT)
        self.counts["stops"] += 1

    def _kill_submission(self) -> None:
        running = self._submissions
        if running and self._random.choice(running).kill():
            self.counts["kills of submissions"] += 1
