"""All parties of a federation as processes of this machine: made, started, watched, stopped, and cleaned up after.

Each party is a process of its own with its own folder, identity and state; this module gives them nothing that machines
of their own would not have.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hefed.node import proof, transcripts
from hefed.node.database import FILE as STATE
from hefed.node.decision import Decision, Decisions
from hefed.node.errors import NodeError
from hefed.node.files import LOCK, lock_folder, make_private_folder
from hefed.node.history import History
from hefed.node.identity import Identity
from hefed.node.process import ROSTER, ProcessConfig, destroy_secrets
from hefed.protocol.messages import printable
from hefed.protocol.roster import Role, Roster
from hefed.protocol.transcript import Head
from hefed.study import Study

AGGREGATOR, ANALYST = "aggregator", "analyst"
STOP_SECONDS = 5.0
"""How long a party may take to end by itself before it is killed."""

END_SECONDS = 10.0
"""How long a party may take to hear that a study has ended."""

ORPHAN_SECONDS = 30.0
"""How long parties whose parent was killed may take to end by themselves."""


class Parties:
    """The parties of one study in one folder; as a context manager it leaves no process and no secret behind."""

    def __init__(self, folder: Path, study: Study, *, leave_nothing: bool = True) -> None:
        """Makes a fresh federation in `folder`; what an earlier one left there is destroyed. Raises NodeError when one
        is running, or when there is something else in the folder.
        """
        self.folder, self.study, self._leave_nothing = folder, study, leave_nothing
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._refuse_foreign_folder()
        make_private_folder(folder)
        self._lock = lock_folder(folder)
        try:
            self._refuse_links()
        except BaseException:
            os.close(self._lock)  # and nothing is destroyed
            raise
        try:
            self._clear()
            self._make()
        except BaseException:
            self.__exit__()
            raise

    def _make(self) -> None:
        roles = {name: self._roles(name) for name in self.study.members}
        identities = {name: Identity.create(self._new_folder(name)) for name in (AGGREGATOR, *roles)}
        self._identities = identities
        self.analyst = Identity.passing()  # its process is ours
        members = [identities[name].member(name, part) for name, part in roles.items()]
        members.append(identities[AGGREGATOR].member(AGGREGATOR, ("aggregator",)))
        members.append(self.analyst.member(ANALYST, ("analyst",)))
        self.roster = Roster.of("simulation", 1, members)
        for name in identities:
            (self.folder / name / ROSTER).write_bytes(self.roster.to_bytes())

    def _roles(self, name: str) -> tuple[Role, ...]:
        study = self.study
        parts: list[tuple[Role, tuple[str, ...]]] = [
            ("contributor", study.contributors), ("keyholder", study.keyholders), ("reader", study.readers),
        ]  # fmt: skip
        return tuple(role for role, names in parts if name in names)

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        make_private_folder(folder)
        return folder

    def _refuse_foreign_folder(self) -> None:
        for path in (self.folder, self.folder / LOCK):
            self._refuse_link(path)
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / LOCK).exists():
            raise NodeError(f"{self.folder} holds something that hefed did not put there; name another folder")

    def _refuse_links(self) -> None:
        """What is destroyed must be in this folder, not where a link in it leads. Only its owner can add any now."""
        for parent, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                self._refuse_link(Path(parent, name))

    @staticmethod
    def _refuse_link(path: Path) -> None:
        if path.is_symlink():
            raise NodeError(f"{path} is a link, which hefed did not put there; remove it or name another folder")

    def _clear(self) -> None:
        for entry in self.folder.iterdir():
            if entry.is_dir():
                # Parties whose parent was killed are about to end; they must not meet the files of new ones.
                lock = lock_folder(entry, ORPHAN_SECONDS)
                destroy_secrets(entry)
                shutil.rmtree(entry)
                os.close(lock)
            elif entry.name != LOCK:
                entry.unlink()

    @property
    def endpoint_file(self) -> Path:
        """Where the aggregator writes its address."""
        return self.folder / "endpoint"

    def endpoint(self) -> str | None:
        """The aggregator's address, once it listens."""
        with contextlib.suppress(FileNotFoundError):
            return self.endpoint_file.read_text()
        return None

    def configure(self, approve: bytes, port: int) -> None:
        """Tells every party its part: the one study to approve, and the port (0: any that is free)."""
        for name in self.study.members:
            decisions = Decisions(self.folder / name, Identity.load(self.folder / name))
            decisions.write(Decision(study=approve, answer="approved", at=time.time()))
        for name in (AGGREGATOR, *self.study.members):
            table = self.study.tables.get(name)
            ProcessConfig(
                role="aggregator" if name == AGGREGATOR else "region",
                name=name,
                endpoint=f"127.0.0.1:{port}",
                endpoint_file=str(self.endpoint_file.resolve()),
                table=str(table.resolve()) if table else None,
                leave_nothing=self._leave_nothing,
            ).write(self.folder / name)

    def start(self, name: str) -> None:
        """Starts a party's process. Its words go to `log.txt` in its folder; its standard input is the line that keeps
        it alive.
        """
        folder = self.folder / name
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603  our own program, no shell
                [sys.executable, "-m", "hefed.node.process", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # they share the cores already
                start_new_session=True,  # Ctrl-C reaches the parent only, which then ends them in order
            )

    def start_all(self) -> None:
        """Starts everybody."""
        for name in (AGGREGATOR, *self.study.members):
            self.start(name)

    def kill(self, name: str) -> None:
        """Kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()

    def ended(self) -> dict[str, int]:
        """Parties whose process has ended by itself, with its exit code."""
        codes = {name: process.poll() for name, process in self.processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def log(self, name: str) -> Path:
        """Where a party's words go."""
        return self.folder / name / "log.txt"

    def last_words(self, name: str) -> str:
        """The last line that a party wrote, printable."""
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return printable(lines[-1]) if lines else ""

    def require_aggregator(self) -> None:
        """Raises NodeError with the aggregator's own words when it has ended."""
        if AGGREGATOR in self.ended():
            words = (
                self.last_words(AGGREGATOR).partition("CRITICAL ")[2] or f"see {self.folder / AGGREGATOR / 'log.txt'}"
            )
            raise NodeError(f"the aggregator has stopped: {words}")

    def wait_until_ended(self, study: bytes) -> None:
        """Until every party that runs knows that a study has ended; the analyst knows first."""
        until = time.monotonic() + END_SECONDS
        waiting = [name for name in self.processes if (self.folder / name / STATE).exists()]
        while waiting and time.monotonic() < until:
            waiting = [name for name in waiting if name not in self.ended() and not self._has_ended(name, study)]
            time.sleep(0.01)

    def _has_ended(self, name: str, study: bytes) -> bool:
        with History(self.folder / name) as history:
            return history.has_ended(study)

    def write_transcripts(self, folder: Path, study: bytes) -> None:
        """What each party kept of a study, signed by it, once all have been stopped. Raises NodeError."""
        homes = {
            name: (self.folder / name, one.sign_statement)
            for name, one in self._identities.items()
            if (self.folder / name / STATE).exists()
        }
        transcripts.write_all(folder, homes, study, self.roster)

    def write_result_file(self, to: Path, study: bytes) -> None:
        """The result with what it follows from, by the first of the readers. Raises NodeError."""
        reader = sorted(self.study.readers)[0]
        sign = self._identities[reader].sign_statement
        proof.write_result_file(self.folder / reader, Head(reader, study, self.roster), sign, to)

    def stop(self) -> None:
        """Ends all processes, by force if need be: the aggregator last, so that nobody misses it."""
        regions = [process for name, process in self.processes.items() if name != AGGREGATOR]
        for group in (regions, [process for process in self.processes.values() if process not in regions]):
            for process in group:
                if process.stdin:
                    process.stdin.close()
            for process in group:
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes.clear()

    def __enter__(self) -> "Parties":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        if self._leave_nothing:
            for folder in self.folder.iterdir():
                if folder.is_dir() and not folder.is_symlink():
                    destroy_secrets(folder)
        os.close(self._lock)
