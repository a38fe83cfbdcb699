"""What left this home, read from its state while its process runs: every message of its own, and each study's end.

`report.departures` puts the messages into words and `report.log` shows them. Reads the database without a lock that
anybody notices, and takes the form of the messages for granted no more than a reader of the wire does: what cannot be
read is shown as that. Must not write, and must not bring an older state up.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hefed.node import schema
from hefed.node.absent import why_no_home
from hefed.node.database import FILE
from hefed.node.errors import NodeError
from hefed.node.federation import load_card, read_bounded, shown
from hefed.node.identity import FILE as IDENTITY
from hefed.node.identity import Identity
from hefed.node.naming import is_named
from hefed.node.process import ROSTER
from hefed.node.store import StoredEntry, StudyFacts, study_facts
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.errors import EncodingError, ProtocolError
from hefed.protocol.roster import Roster
from hefed.report.departures import Around, read
from hefed.report.log import Certainty, LogLine, LogSection
from hefed.study import Study, StudyError
from hefed.wording import quoted


@dataclass(frozen=True)
class Departure:
    """A message of this home's own. `content` is None when it cannot be read."""

    key: str
    kind: str
    content: m.Content | None
    size: int
    """Bytes of the envelope and of what travels beside it."""
    made: float | None
    left_at: float | None
    """When it was first handed to the connection; None when that is not known or not yet."""
    seen_at: float | None
    """When it came back in the study's record, so that it had left by then."""
    left_to: str | None


@dataclass(frozen=True)
class StudyHistory:
    """One study as this home remembers it. `study` is None when its definition is not kept or cannot be used."""

    facts: StudyFacts
    study: Study | None
    departures: tuple[Departure, ...]


class History:
    """A context manager over one home's state, for reading."""

    def __init__(self, folder: Path) -> None:
        """Raises NodeError when there is no state, or one of another form."""
        self._path = folder / FILE
        if not self._path.exists():
            raise _no_state(folder)
        try:
            self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        try:
            (form,) = self._rows("PRAGMA user_version")[0]
            if form != schema.VERSION:
                what = "an older" if form < schema.VERSION else "a newer"
                raise NodeError(
                    f"{self._path} was written by {what} version of hefed; "
                    + ("start the node once, which brings it up" if form < schema.VERSION else "read it with that one")
                )
        except NodeError:
            self._db.close()
            raise

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """What is read within is of one moment. Keep it short: meanwhile the write-ahead log is not folded."""
        self._rows("BEGIN")
        try:
            yield
        finally:
            self._rows("ROLLBACK")

    def studies(self, own_name: str | None = None) -> Iterator[StudyHistory]:
        """Every study in the order in which they began. `own_name` is given for an aggregator: what it says is not
        stored as sent but stands in the record, under its name.
        """
        for facts in study_facts(self._rows):
            yield StudyHistory(facts, self._definition(facts.study), tuple(self._departures(facts.study, own_name)))

    def record(self, study: bytes) -> Iterator[StoredEntry]:
        """All entries of a study's record, in order, with the attachments that are kept, one entry at a time."""
        for number, kind, at in self._rows("SELECT number, kind, at FROM entry WHERE study = ? ORDER BY number", study):
            ((envelope,),) = self._rows("SELECT envelope FROM entry WHERE study = ? AND number = ?", study, number)
            of_it = "SELECT data FROM attachment WHERE study = ? AND number = ? ORDER BY position"
            yield StoredEntry(number, kind, at, envelope, tuple(data for (data,) in self._rows(of_it, study, number)))

    def has_ended(self, study: bytes) -> bool:
        """Whether the study has ended here."""
        return bool(self._rows("SELECT 1 FROM study WHERE study = ? AND ended_at NOT NULL", study))

    def opened(self, study: bytes) -> list[bytes]:
        """What this home opened as a reader, by round, as far as it is kept."""
        return [packed for (packed,) in self._rows("SELECT packed FROM opened WHERE study = ? ORDER BY number", study)]

    def unrecorded(self, study: bytes) -> list[bytes]:
        """The envelopes of this home's own messages that are not in its record, in order."""
        rows = self._rows(
            "SELECT envelope FROM sent WHERE study = ? AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.study = "
            "sent.study AND entry.envelope = sent.envelope) ORDER BY number",
            study,
        )
        return [envelope for (envelope,) in rows]

    def find(self, wanted: str) -> StudyFacts:
        """The study of that name, or whose hash begins so. Raises NodeError unless there is just one."""
        facts = study_facts(self._rows)
        found = [one for one in facts if is_named(one.study, one.name, wanted)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{one.name or 'of unknown name'} ({one.study.hex()[:8]})" for one in found or facts)
        if found:
            raise NodeError(f"{quoted(wanted)} may be any of {known}; give more digits of the hash")
        raise NodeError(f"no study {quoted(wanted)} is known here; there {'are ' + known if known else 'is none yet'}")

    def _departures(self, study: bytes, own_name: str | None) -> Iterator[Departure]:
        rows = self._rows(
            "SELECT key, envelope, made, left_at, left_to, (SELECT min(at) FROM entry WHERE entry.study = sent.study "
            "AND entry.envelope = sent.envelope) FROM sent WHERE study = ? ORDER BY number",
            study,
        )
        if not rows and own_name is not None:
            rows = self._rows(
                "SELECT kind, envelope, at, at, NULL, at FROM entry WHERE study = ? AND sender = ? ORDER BY number",
                *(study, own_name),
            )
        for key, envelope, made, left_at, left_to, seen_at in rows:
            kind, content, size = _read(envelope)
            yield Departure(key, kind, content, size, made, left_at, seen_at, left_to)

    def _definition(self, study: bytes) -> Study | None:
        for (envelope,) in self._rows("SELECT envelope FROM entry WHERE study = ? AND number = 0", study):
            _, content, _ = _read(envelope)
            if isinstance(content, m.Invitation):
                try:
                    return Study.from_public(content.definition)
                except StudyError:
                    return None
        return None

    def _rows(self, statement: str, *values: object) -> list[Any]:
        try:
            with closing(self._db.execute(statement, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> NodeError:
        return NodeError(f"{self._path} cannot be read: {error}; look at the disk and at whose the file is")


def _read(envelope: bytes) -> tuple[str, m.Content | None, int]:
    """Kind, content and bytes of a message from one's own database, of an older version too; its content is None when
    it cannot be read. Signatures are not looked at: they are one's own, or were verified before it was stored.
    """
    try:
        match codec.decode(envelope):
            case [bytes(encoded), bytes()]:
                match codec.decode(encoded):
                    case {"kind": str(kind), "content": dict(content), "attachments": list(attachments)}:
                        size = len(envelope) + sum(m.Attachment.model_validate(one).size for one in attachments)
                        return kind, _content(kind, content), size
    except (EncodingError, ValidationError):
        pass
    return "unreadable", None, len(envelope)


def _content(kind: str, content: dict[str, Any]) -> m.Content | None:
    try:
        return m.KINDS[kind].model_validate(content)
    except (KeyError, ValidationError):
        return None


def log_sections(
    history: History,
    *,
    aggregator: str,
    own_name: str | None = None,
    study: str | None = None,
    since: float | None = None,
) -> list[LogSection]:
    """What the log shows: all studies, or the one with that name or whose hash begins so; and what left since then.

    Raises NodeError when `study` is given and there is none.
    """
    sections, known, found = [], [], False
    for one in history.studies(own_name):
        name = one.facts.name or "of unknown name"
        known.append(f"{name} ({one.facts.study.hex()[:8]})")
        if study is not None and not is_named(one.facts.study, name, study):
            continue
        found = True
        lines = tuple(
            line
            for line in _lines(one, aggregator, own_name)
            if since is None or line.at is None or round(line.at, 6) >= round(since, 6)
        )
        if lines or since is None:
            sections.append(_section(one, name, lines, aggregator, own_name))
    if study is not None and not found:
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise NodeError(f"no study {quoted(study)} is known here; {there}")
    return sections


def _section(
    one: StudyHistory, name: str, lines: tuple[LogLine, ...], aggregator: str, own_name: str | None
) -> LogSection:
    facts = one.facts
    notes = []
    if facts.kept == 0:
        notes.append("Its messages have been deleted, as their time was over.")
    if own_name is not None:
        notes.append("Beside these the aggregator passed on what the members signed, and could open none of it.")
    relays = sorted({departure.left_to or aggregator for departure in one.departures}) or [aggregator]
    way = f"all of it went to {' and '.join(relays)}, which passes on what is for others" if own_name is None else ""
    return LogSection(
        study=facts.study,
        name=name,
        analyst=facts.analyst or "somebody unknown",
        began=facts.began,
        approval=facts.approval or ("none is asked of the aggregator" if own_name else "none is recorded here"),
        lines=lines,
        way=way,
        note=" ".join(notes),
    )


def _lines(one: StudyHistory, aggregator: str, own_name: str | None) -> Iterator[LogLine]:
    facts = one.facts
    for departure in one.departures:
        around = Around(departure.left_to or aggregator, facts.analyst, one.study.readers if one.study else ())
        at, certainty = _when(departure)
        reading = read(departure.content, around)
        yield LogLine(
            "sent", at, certainty, reading.what, departure.kind, reading.to, reading.sealed_to, departure.size
        )
    if facts.ended_at is not None:
        how = f": {m.printable(facts.outcome)}" if facts.outcome else ""
        keys = "" if own_name else "; its keys are destroyed"  # an aggregator has none
        yield LogLine("ended", facts.ended_at, "left", f"the study ended here{how}{keys}")


def _when(departure: Departure) -> tuple[float | None, Certainty]:
    if departure.left_at is not None:
        # A message of form 1 has no time of its own: the record gives the latest.
        return departure.left_at, "left" if departure.made is not None else "by"
    return (departure.seen_at, "by") if departure.seen_at is not None else (None, "not yet")


def names(folder: Path) -> tuple[str, str | None]:
    """The aggregator's name, and once more if this home is the aggregator's own. What is not known is left open: a
    simulation's homes have no identity any more.
    """
    roster = _roster(folder)
    if roster is None:
        return "the aggregator", None
    aggregator = roster.aggregator
    return aggregator.name, aggregator.name if _own_key(folder) == aggregator.identity else None


def _roster(folder: Path) -> Roster | None:
    path = folder / ROSTER
    if not path.exists():
        return None
    try:
        return Roster.from_bytes(read_bounded(path))
    except ProtocolError as error:
        raise NodeError(f"{path} cannot be used: {error}") from error


def _no_state(folder: Path) -> NodeError:
    if not folder.is_dir():
        return NodeError(why_no_home(folder) or "")
    roster = _roster(folder)
    own = _own_key(folder) if roster else None
    if roster and any(member.identity == own and member.roles == ("analyst",) for member in roster.members):
        return NodeError(
            f"{shown(folder)} is an analyst's home, which keeps no record of studies: hefed submit sends the study "
            f"that its file asks for to {roster.aggregator.name}, and no other message; what the regions sent is in "
            "theirs"
        )
    return NodeError(f"{folder} has no {FILE}: no process has run there, so nothing has left it; check the name")


def _own_key(folder: Path) -> bytes | None:
    """This member's public key: of the one card here, so that nobody is asked for a passphrase; where there are cards
    of others too, of the identity itself.
    """
    if not (folder / IDENTITY).exists():
        return None
    cards = [path for path in folder.glob("*.card") if not path.name.endswith(".next.card")]
    if len(cards) == 1:
        return load_card(cards[0]).identity
    return Identity.load(folder).signer.public
