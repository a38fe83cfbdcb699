"""The studies that a home was invited to, read from its state beside the running process, for its people to decide on.

Reads the database without writing to it. What an analyst wrote is validated as a study before anything of it is shown.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hefed.data.releases import Earlier
from hefed.node.errors import NodeError
from hefed.node.federation import shown
from hefed.node.naming import is_named
from hefed.node.status import is_running
from hefed.node.store import invited_studies
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import Roster
from hefed.report.times import local
from hefed.study import Study


@dataclass(frozen=True)
class Invited:
    """One study with its record's first message, when that came and when the study ended here, if it has (seconds since
    1970), and whether it was approved.
    """

    study: bytes
    board: Board
    came: float
    approved: bool
    ended_at: float | None

    @property
    def definition(self) -> Study:
        """What is asked."""
        return self.board.study


class Invitations:
    """All studies in the state of a home, oldest first, each under the roster that it was made for."""

    def __init__(self, home: Path, roster: Roster, earlier: Sequence[Roster] = ()) -> None:
        """`earlier` are the rosters that were in force before `roster`. Raises NodeError when there is no state."""
        self._home, self._rosters = home, (roster, *earlier)
        path = home / "state.sqlite"
        if not path.exists():
            raise NodeError(f"no study has come to {shown(home)} yet; is its node running? hefed node --home {home}")
        try:
            with self._reading(path) as db:
                self.all = [one for one in map(self._read, self._rows(db)) if one is not None]
                self._invited = invited_studies(lambda words: db.execute(words).fetchall())
        except sqlite3.Error as error:
            raise NodeError(f"{shown(path)} cannot be read: {error}; try again, or look at the disk") from error

    @staticmethod
    @contextmanager
    def _reading(path: Path) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            yield db

    @staticmethod
    def _rows(db: sqlite3.Connection) -> list[tuple[bytes, float, bytes, float | None, int]]:
        return db.execute(
            "SELECT entry.study, entry.at, entry.envelope, study.ended_at,"
            " EXISTS (SELECT 1 FROM sent WHERE sent.study = entry.study AND sent.key = 'approval')"
            " FROM entry JOIN study USING (study) WHERE entry.number = 0 ORDER BY entry.at"
        ).fetchall()

    def _read(self, row: tuple[bytes, float, bytes, float | None, int]) -> Invited | None:
        study, came, envelope, ended_at, approved = row
        for roster in self._rosters:
            board = Board(roster, study)
            with suppress(ProtocolError):
                board.post(m.read_message(envelope, roster))
                return Invited(study, board, came, bool(approved), ended_at)
        return None  # of a roster that is not known here, or of an older version of hefed

    def running(self, named: str) -> Invited:
        """The one study that a person names by its name, or by the first digits of its hash. Raises NodeError."""
        running = [one for one in self.all if one.ended_at is None]
        found = [one for one in running if is_named(one.study, one.definition.id, named)]
        if len(found) == 1:
            return found[0]
        listed = "; ".join(f"{one.definition.id} {one.study.hex()[:16]}" for one in found or running) or "none"
        if found:
            alike = all(one.definition.id == named for one in found)
            several = "have that name" if alike else "have that name, or a hash that begins so"
            raise NodeError(f"several studies {several}; name one by more digits of its hash: {listed}")
        asleep = "" if is_running(self._home) else "; its node does not run, so it hears of no new one: start it"
        ended = [one for one in self.all if one.ended_at and is_named(one.study, one.definition.id, named)]
        if ended:
            raise NodeError(f"{self._ended(ended[-1])}{asleep}")
        raise NodeError(f"no study like that waits or runs in {shown(self._home)}; there are: {listed}{asleep}")

    def _ended(self, one: Invited) -> str:
        digits = one.study.hex()[:16]
        return (
            f"{one.definition.id} ({digits}) ended here {local(one.ended_at or 0.0)}, and nothing is decided on it any "
            f"more; what left this home in it: hefed log --home {quote(shown(self._home))} --study {digits}"
        )

    def earlier(self, one: Invited, decided: Callable[[bytes], bool]) -> list[Earlier]:
        """The other studies that were approved here; `decided` says whether people have, which a node that does not
        run, or is slow, has not acted upon.
        """
        others = [(other, approved) for other, approved in self._invited if other.digest != one.study]
        return [other for other, approved in others if approved or decided(other.digest)]

    def before(self, one: Invited) -> Invited | None:
        """The last study that was approved here before this one, of its name if there is one."""
        earlier = [other for other in self.all if other.approved and other.came < one.came]
        same = [other for other in earlier if other.definition.id == one.definition.id]
        return (same or earlier or [None])[-1]  # type: ignore[list-item]
