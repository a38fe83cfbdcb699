"""Whole studies for tests: study files, `hefed simulate` as a person starts it, and parties that a test disturbs.

Everything is real: processes, ZeroMQ with CURVE, encryption, files. A test looks into a party's database read-only.
"""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hefed.node.analyst import Submission
from hefed.node.identity import Identity
from hefed.node.parties import AGGREGATOR, ANALYST, Parties
from hefed.node.process import ProcessConfig
from hefed.node.simulate import follow
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.roster import Roster
from hefed.study import Study

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
REGIONS = ("halland", "kronoberg", "orebro")
COX, LOGISTIC = "heart-failure/cox.toml", "heart-failure/logistic.toml"


# --- Studies ---------------------------------------------------------------------------------------


def to_submit(text: str) -> str:
    """A study file for regions that have tables of their own."""
    return re.sub(r"(?m)^data = .*$", "contributes = true", text)


def study_file(
    folder: Path, example: str = COX, *, security: str = "", limits: str = "", regions: str = "", **keys: object
) -> Path:
    """A copy of an example with its tables; `keys` replace values, the other arguments are further lines."""
    source = EXAMPLES / example
    folder.mkdir(parents=True, exist_ok=True)
    for table in source.parent.glob("*.csv"):
        (folder / table.name).write_bytes(table.read_bytes())
    text = source.read_text()
    for key, value in keys.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {json.dumps(value)}", text)
        assert count == 1, key
    text = text.replace("[security]\n", f"[security]\n{security}\n")
    path = folder / "study.toml"
    path.write_text(f"{text}\n{regions}\n[limits]\n{limits}\n")
    return path


def reference(example: str, **which: object) -> dict[str, Any]:
    """R's answer on the pooled rows: the one fit that has these values."""
    kind = "cox" if "cox" in example else "logistic"
    content = json.loads((EXAMPLES / "reference" / f"{Path(example).parent}-{kind}.json").read_text())
    (fit,) = [fit for fit in content["fits"] if all(fit[key] == value for key, value in which.items())]
    return dict(fit)


def cox_reference() -> dict[str, Any]:
    """R's answer to the study of the README."""
    return reference(COX, ties="efron", stratified_by_site=True)


def assert_same_fit(estimate: Any, std_error: Any, loglik: float, loglik_null: float, fit: dict[str, Any]) -> None:
    """The bounds that hefed promises, against R."""
    coef = fit["coef"] if "coef" in fit else fit["coef_with_intercept_first"]
    difference = np.abs(np.array(estimate) - np.array(coef)) / np.array(fit["se"])
    assert difference.max() < 1e-6
    np.testing.assert_allclose(std_error, fit["se"], rtol=1e-6, atol=0)
    np.testing.assert_allclose(loglik, fit["loglik"], rtol=1e-8, atol=0)
    np.testing.assert_allclose(loglik_null, fit["loglik_null"], rtol=1e-8, atol=0)


# --- The command ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path) -> list[str]:
    """The command line of hefed."""
    return [sys.executable, "-m", "hefed", *map(str, arguments)]


def environment() -> dict[str, str]:
    """With this checkout's package, and a terminal's width that does not depend on who runs the test."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def hefed(*arguments: str | Path, timeout: float = 90) -> Ended:
    """Runs hefed to its end."""
    done = subprocess.run(
        command(*arguments),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """hefed as a process of its own, killed at the end if it still runs."""
    process = subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Reads a process's progress up to a line with these words."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"the process ended without saying '{words}', but: {''.join(said)}")


def processes_of(folder: Path) -> dict[int, str]:
    """All processes of this machine that were started for something in this folder: number and command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found[int(entry.name)] = line
    return found


def parties_in(folder: Path) -> dict[str, int]:
    """The numbers of the processes of the parties that run in a folder of results, by name."""
    found = {}
    for number, line in processes_of(folder / "parties").items():
        if "hefed.node.process" in line:
            found[Path(line.strip()).name] = number
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits until a condition gives something true, and returns that."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.02)
    return value


def secret_files(folder: Path) -> list[Path]:
    """Every file below a folder that holds a key by its name."""
    return [path for path in folder.rglob("*") if ".key" in path.name or path.parent.name == "study-keys"]


# --- Parties ---------------------------------------------------------------------------------------

Hook = Callable[["Run", Board, "m.Message | None"], None]


class Run:
    """The parties of one study, started, followed and disturbed by a test."""

    def __init__(
        self,
        study_path: Path,
        folder: Path,
        *,
        port: int = 0,
        outsiders: dict[str, Identity] | None = None,
        through: int | None = None,
        absent: tuple[str, ...] = (),
    ) -> None:
        """`outsiders` are on the roster without a part in the study; regions connect to the port `through` instead of
        the aggregator's own; `absent` are not started.
        """
        self.study = Study.load(study_path)
        self.parties = Parties(folder, self.study)
        self.folder, self._absent = folder, absent
        if outsiders:
            self._admit(outsiders)
        expires = int(time.time()) + self.study.security.deadline
        self.submission = Submission(self.study, self.parties.roster, ANALYST, expires)
        self.parties.configure(self.submission.study, port)
        if through is not None:
            self._connect_through(through)

    def _admit(self, outsiders: dict[str, Identity]) -> None:
        more = [identity.member(name, ("analyst", "contributor", "keyholder")) for name, identity in outsiders.items()]
        old = self.parties.roster
        self.parties.roster = Roster.of(old.federation, old.version, [*old.members, *more])
        for name in (AGGREGATOR, *self.study.members):
            (self.folder / name / "roster.cbor").write_bytes(self.parties.roster.to_bytes())

    def _connect_through(self, port: int) -> None:
        (self.folder / "proxy").write_text(f"127.0.0.1:{port}")
        for name in self.study.members:
            config = ProcessConfig.read(self.folder / name)
            config.model_copy(update={"endpoint_file": str(self.folder / "proxy")}).write(self.folder / name)

    def __enter__(self) -> "Run":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.parties.processes.values():
            process.send_signal(signal.SIGCONT)  # a test that failed may have left one stopped
        self.parties.__exit__(*exception)

    def start(self) -> None:
        """Starts everybody, and waits until all regions are connected, so that no phase's time goes into that."""
        present = [name for name in self.study.members if name not in self._absent]
        for name in (AGGREGATOR, *present):
            self.parties.start(name)
        wait_for(lambda: all("ready" in self.log(name) for name in present), 60)

    def follow(self, *hooks: Hook) -> Board:
        """Submits the study and follows it to its end; hooks see every message, and None in between."""

        def watch(board: Board, message: m.Message | None) -> None:
            for hook in hooks:
                hook(self, board, message)

        return follow(self.parties, self.submission, watch)

    def pid(self, name: str) -> int:
        """The process of a party."""
        return self.parties.processes[name].pid

    def stop(self, name: str) -> None:
        """Keeps a party from running, without ending it."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Lets a stopped party run on."""
        os.kill(self.pid(name), signal.SIGCONT)

    def log(self, name: str) -> str:
        """What a party wrote."""
        return (self.folder / name / "log.txt").read_text()

    def record(self, name: str) -> list["Stored"]:
        """A party's copy of the study's record."""
        return record(self.folder / name)

    def sent(self, name: str) -> dict[str, "Stored"]:
        """What a region has stored as sent, by key, in order."""
        return sent(self.folder / name)

    def assert_every_message_was_sent_once(self) -> None:
        """What the aggregator has of a region is, byte for byte and in order, what the region stored before sending; of
        an answer that came after its round's sum only the message.
        """
        record = self.record(AGGREGATOR)
        sums = [number for number, message in enumerate(record) if message.kind == "sum"]
        for name in self.study.members:
            sent = list(self.sent(name).items())
            relayed = [(number, message) for number, message in enumerate(record) if message.sender == name]
            for (key, stored), (number, kept) in zip(sent, relayed, strict=True):
                assert kept.envelope == stored.envelope
                late = kept.kind == "answer" and bisect(sums, number) > int(key.split()[1])
                assert kept.attachments == (() if late else stored.attachments)
            assert len(sent) == len({stored.envelope for _, stored in sent})

    def assert_answer(self, board: Board, fit: dict[str, Any]) -> None:
        """The readers' finding is R's answer."""
        assert board.outcome is not None
        assert board.outcome.how == "result", board.outcome
        found = self.submission.open(board).document
        assert_same_fit(
            found["estimate"], found["std_error"], found["log_likelihood"], found["log_likelihood_null"], fit
        )


@dataclass(frozen=True)
class Stored:
    """A message as it stands in a database."""

    sender: str
    kind: str
    envelope: bytes
    attachments: tuple[bytes, ...]


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{folder / 'state.sqlite'}?mode=ro", uri=True, timeout=10)) as db:
        yield db


def record(folder: Path) -> list[Stored]:
    """The record of the study in a party's database."""
    with _reading(folder) as db:
        rows = db.execute("SELECT study, number, sender, kind, envelope FROM entry ORDER BY number").fetchall()
        select = "SELECT data FROM attachment WHERE study = ? AND number = ? ORDER BY position"
        return [
            Stored(sender, kind, envelope, tuple(data for (data,) in db.execute(select, (study, number))))
            for study, number, sender, kind, envelope in rows
        ]


def sent(folder: Path) -> dict[str, Stored]:
    """The messages of its own in a region's database."""
    with _reading(folder) as db:
        rows = db.execute("SELECT study, number, key, envelope FROM sent ORDER BY number").fetchall()
        select = "SELECT data FROM sent_attachment WHERE study = ? AND number = ? ORDER BY position"
        return {
            key: Stored(folder.name, key, envelope, tuple(data for (data,) in db.execute(select, (study, number))))
            for study, number, key, envelope in rows
        }


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def is_sum(message: "m.Message | None", round: int) -> bool:
    """Whether a message closes that round."""
    return message is not None and isinstance(message.content, m.Sum) and message.content.round == round
