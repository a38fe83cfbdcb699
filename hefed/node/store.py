"""State on disk: one database a member, and one owner-only key file a study.

What a member received and sent in a study stands in the database as it went over the wire. Its secrets stand there
encrypted under the study's key file; destroying that file destroys them all, the write-ahead log's copies included.
Nothing is sent before it is stored: callers `commit` first. Every disk that refuses is a NodeError, after which nothing
of the step under way is stored, and the process ends.

Relies on `database` for the file. Must not hold a read transaction open: the write-ahead log would grow.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hefed.crypto.buffer import Buffer
from hefed.data.releases import Earlier
from hefed.node.database import Database
from hefed.node.errors import NodeError
from hefed.node.files import destroy, make_private_folder, read_private, write_private
from hefed.node.frames import Frame
from hefed.node.schema import study_name
from hefed.node.vault import StudyVault
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.messages import Invitation, Message
from hefed.study import Study, StudyError

KEYS = "study-keys"
"""The folder of the key files, one a study that runs."""

DAY = 86400.0
KEEP_RECORDS = 3653 * DAY
"""Seconds after a study's end for which its signed messages are kept: ten years. That it took place stays for ever."""

FOUND = "found "
"""Begins the keys of messages that were found in the record after the state was lost."""

SHORT = 4096
"""Bytes of a sealed secret that is also kept in memory, sealed: to find one, SQLite reads others whole, and so the
frozen table at almost every look.
"""
NEWEST = 64
"""Short entries that are also kept in memory: each is passed on to everybody right after it came."""
PAGES_AT_ONCE = 2000
"""Pages of the database that are given back to the disk in one step."""


@dataclass(frozen=True)
class StoredEntry:
    """A message of a study's record, as it came."""

    number: int
    kind: str
    at: float
    envelope: bytes
    attachments: tuple[bytes, ...]


@dataclass(frozen=True)
class StoredMessage:
    """A message that this member sent or is about to send."""

    number: int
    key: str
    envelope: bytes
    attachments: tuple[bytes, ...]


@dataclass(frozen=True)
class StudyFacts:
    """What is known of a study for ever; None where it is not known, or not yet."""

    study: bytes
    name: str | None
    analyst: str | None
    began: float | None
    approval: str | None
    ended_at: float | None
    outcome: str | None
    kept: int
    """2: everything; 1: the messages without their attachments; 0: no message."""


_FACTS = "study, name, analyst, began, approval, ended_at, outcome, kept"


def study_facts(rows: Callable[[str], list[Any]]) -> list[StudyFacts]:
    """All studies in the order in which they began, by what runs a statement and gives its rows."""
    return [StudyFacts(*row) for row in rows(f"SELECT {_FACTS} FROM study ORDER BY began, study")]  # noqa: S608  names of ours


def invited_studies(rows: Callable[[str], list[Any]]) -> list[tuple[Earlier, bool]]:
    """The studies that this member was invited to, and whether its approval was made; by what runs a statement and
    gives its rows. Those of an older version of hefed whose definition cannot be read any more are left out.
    """
    found = []
    for study, own_rows, envelope, approved in rows(
        "SELECT study.study, study.own_rows, entry.envelope, "
        "EXISTS (SELECT 1 FROM sent WHERE sent.study = study.study AND sent.key = 'approval') "
        "FROM study JOIN entry ON entry.study = study.study AND entry.number = 0 ORDER BY began"
    ):
        with suppress(StudyError, EncodingError, LookupError, TypeError):
            definition = codec.decode(codec.decode(envelope)[0])["content"]["definition"]
            found.append((Earlier(study, Study.from_public(definition), own_rows), bool(approved)))
    return found


class Store(Database):
    """A member's state. Changes are durable after `commit`; secrets are as soon as they are made."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._short: dict[tuple[bytes, str], bytes] = {}
        # What is asked for with each message; a write that fails ends the process, and these with it.
        self._counts: dict[tuple[bytes, str | None], int] = {}
        self._newest: dict[tuple[bytes, int], StoredEntry] = {}

    # --- studies

    def add_study(
        self, study: bytes, *, name: str | None = None, analyst: str | None = None, began: float | None = None
    ) -> None:
        """A study that is new here; known ones stay as they are. What is not given follows from its invitation."""
        self._write(
            "INSERT OR IGNORE INTO study (study, name, analyst, began) VALUES (?, ?, ?, ?)", study, name, analyst, began
        )

    def note_approval(self, study: bytes, words: str) -> None:
        """How a study was approved here, in words for whoever reads the log."""
        self._write("UPDATE study SET approval = ? WHERE study = ?", words, study)

    def note_rows(self, study: bytes, rows: int | None) -> None:
        """How many of its patients the region gives to a study."""
        self._write("UPDATE study SET own_rows = ? WHERE study = ?", rows, study)

    def approved_before(self, study: bytes) -> list[Earlier]:
        """The studies that were approved here, but this one, in the order in which they began."""
        invited = invited_studies(lambda words: self._run(words).fetchall())
        return [one for one, approved in invited if approved and one.digest != study]

    def studies(self) -> list[bytes]:
        """All studies whose messages are kept, ended ones too, in the order in which they began."""
        return [study for (study,) in self._run("SELECT study FROM study WHERE kept > 0 ORDER BY began")]

    def running(self) -> list[bytes]:
        """The studies that have not ended, in the order in which they began."""
        return [study for (study,) in self._run("SELECT study FROM study WHERE ended_at IS NULL ORDER BY began")]

    def ended(self) -> list[bytes]:
        """The studies that have ended and whose messages are kept, in the order of their ends."""
        statement = "SELECT study FROM study WHERE ended_at IS NOT NULL AND kept > 0 ORDER BY ended_at"
        return [study for (study,) in self._run(statement)]

    def facts(self, study: bytes) -> StudyFacts | None:
        """What is known of a study; None when it was never here."""
        row = self._run(f"SELECT {_FACTS} FROM study WHERE study = ?", study).fetchone()  # noqa: S608  names of ours
        return StudyFacts(*row) if row else None

    def has_ended(self, study: bytes) -> bool:
        """Whether a study has ended here; it is then never taken up again."""
        return self._run("SELECT 1 FROM study WHERE study = ? AND ended_at NOT NULL", study).fetchone() is not None

    def end_study(self, study: bytes, at: float | None = None, outcome: str | None = None) -> None:
        """Marks a study as ended, durably, and destroys its secrets. `at` is now unless given; `outcome` says how."""
        when = time.time() if at is None else at
        self._write(
            "UPDATE study SET ended_at = coalesce(ended_at, ?), outcome = coalesce(outcome, ?) WHERE study = ?",
            *(when, outcome, study),
        )
        self._write("DELETE FROM secret WHERE study = ?", study)
        self._short = {key: sealed for key, sealed in self._short.items() if key[0] != study}
        self._counts = {key: count for key, count in self._counts.items() if key[0] != study}
        self.commit()
        destroy(self._key_file(study))
        self._fold_log()

    def _fold_log(self) -> None:
        self._run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # --- retention

    def prune(self, attachments_before: float, records_before: float | None = None) -> None:
        """Deletes the attachments of studies that ended before one time, and all messages of studies that ended before
        another (None: KEEP_RECORDS ago), and gives the room back to the disk. The messages say what their attachments
        were, so the log stays whole until they go. Takes little room itself: one message at a time.
        """
        if records_before is None:
            records_before = time.time() - KEEP_RECORDS
        self._write("UPDATE study SET kept = 1 WHERE kept > 1 AND ended_at < ?", attachments_before)
        self._write("UPDATE study SET kept = 0 WHERE kept > 0 AND ended_at < ?", records_before)
        self.commit()
        # What is to go is found by that mark, so a kill in between leaves the rest to the next time.
        for table in ("attachment", "sent_attachment", "opened"):
            self._delete_by_message(table, kept_below=2)
        for table in ("entry", "sent"):
            self._delete_by_message(table, kept_below=1)
        while self._run("PRAGMA freelist_count").fetchone() != (0,):
            before = self._run("PRAGMA page_count").fetchone()
            self._run(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
            if self._run("PRAGMA page_count").fetchone() == before:
                break
        self._fold_log()

    def _delete_by_message(self, table: str, kept_below: int) -> None:
        self._newest.clear()
        select = f"SELECT DISTINCT study, number FROM {table} WHERE study IN (SELECT study FROM study WHERE kept < ?)"  # noqa: S608  names of ours
        for study, number in self._run(select, kept_below).fetchall():
            self._write(f"DELETE FROM {table} WHERE study = ? AND number = ?", study, number)  # noqa: S608  names of ours
            self.commit()

    # --- the record

    def append(self, study: bytes, number: int, message: Message, at: float, attachments: tuple[Buffer, ...]) -> None:
        """The next entry of a study's record."""
        values = (study, number, message.sender, message.body.kind, at, message.envelope)
        self._write("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", *values)
        if isinstance(message.content, Invitation):
            self._write(
                "UPDATE study SET name = coalesce(name, ?), analyst = coalesce(analyst, ?), began = coalesce(began, ?) "
                "WHERE study = ?",
                study_name(message.content.definition),
                message.sender,
                at,
                study,
            )
        self._keep_attachments("attachment", study, number, attachments)
        self._count_one(study, message.sender)
        if len(message.envelope) <= SHORT:
            self._newest[study, number] = StoredEntry(number, message.body.kind, at, message.envelope, ())
            if len(self._newest) > NEWEST:
                del self._newest[next(iter(self._newest))]

    def length(self, study: bytes) -> int:
        """How many entries the record has."""
        (length,) = self._run("SELECT coalesce(max(number) + 1, 0) FROM entry WHERE study = ?", study).fetchone()
        return int(length)

    def sent_by(self, study: bytes, sender: str) -> int:
        """How many entries of the record are a member's."""
        return self._count("SELECT count(*) FROM entry WHERE study = ? AND sender = ?", study, sender)

    def _count(self, statement: str, study: bytes, sender: str | None = None) -> int:
        if (study, sender) not in self._counts:
            (count,) = self._run(statement, study, *([sender] if sender else [])).fetchone()
            running = "SELECT 1 FROM study WHERE study = ? AND ended_at IS NULL"
            if not self._run(running, study).fetchone():
                return int(count)  # who asks for studies that are not there makes nothing grow
            self._counts[study, sender] = int(count)
        return self._counts[study, sender]

    def _count_one(self, study: bytes, sender: str | None) -> None:
        if (study, sender) in self._counts:
            self._counts[study, sender] += 1

    def entry(self, study: bytes, number: int) -> StoredEntry:
        """One entry with all attachments that are kept here."""
        return replace(self.bare_entry(study, number), attachments=self.attachments(study, number))

    def bare_entry(self, study: bytes, number: int) -> StoredEntry:
        """One entry without its attachments, which can be long."""
        if (study, number) in self._newest:
            return self._newest[study, number]
        kind, at, envelope = self._run(
            "SELECT kind, at, envelope FROM entry WHERE study = ? AND number = ?", study, number
        ).fetchone()
        return StoredEntry(number, kind, at, envelope, ())

    def attachments(self, study: bytes, number: int) -> tuple[bytes, ...]:
        """The attachments of an entry, as far as they are kept here."""
        return self._attachments("attachment", study, number)

    def entries(self, study: bytes) -> Iterator[StoredEntry]:
        """The whole record, in order."""
        return (self.entry(study, number) for number in range(self.length(study)))

    def leaving(self, study: bytes, number: int) -> tuple[Frame, ...]:
        """The same for sending: long ones stay on disk until they leave."""
        return tuple(self._places("attachment", study, number))

    def keep_opened(self, study: bytes, number: int, packed: bytes) -> None:
        """What a reader opened in a round; the same again after a restart."""
        self._write("INSERT OR REPLACE INTO opened VALUES (?, ?, ?)", study, number, packed)

    def forget_opened(self, study: bytes) -> None:
        """Of a study that ended without a result nothing can follow from what was opened."""
        self._write("DELETE FROM opened WHERE study = ?", study)

    # --- what was sent

    def remember(
        self, study: bytes, key: str, envelope: bytes, attachments: tuple[Buffer, ...], made: float | None = None
    ) -> int:
        """A message that is about to be sent, under its key; returns its place among ours in this study."""
        number = self.count_sent(study)
        self._write(
            "INSERT INTO sent (study, number, key, envelope, made) VALUES (?, ?, ?, ?, ?)",
            *(study, number, key, envelope, time.time() if made is None else made),
        )
        self._keep_attachments("sent_attachment", study, number, attachments)
        self._count_one(study, None)
        return number

    def keep_found(self, study: bytes, envelope: bytes) -> None:
        """A message of ours that this state knew nothing of, as it stands in the record; it counts as sent."""
        self.remember(study, f"{FOUND}{self.count_sent(study)}", envelope, ())

    def has_found(self, study: bytes) -> bool:
        """Whether there is any such message."""
        return self._run("SELECT 1 FROM sent WHERE study = ? AND key LIKE ?", study, f"{FOUND}%").fetchone() is not None

    def was_sent(self, study: bytes, envelope: bytes) -> bool:
        """Whether this state knows a message as its own."""
        return self._run("SELECT 1 FROM sent WHERE study = ? AND envelope = ?", study, envelope).fetchone() is not None

    def mark_leaving(self, study: bytes, first: int, to: str) -> None:
        """That our messages from number `first` on may leave for `to`, once that is committed: `left_to` without
        `left_at`. After a kill nobody knows whether they did.
        """
        self._write(
            "UPDATE sent SET left_to = ? WHERE study = ? AND number >= ? AND left_to IS NULL AND left_at IS NULL",
            *(to, study, first),
        )

    def count_marked(self, study: bytes) -> int:
        """How many of our messages are marked as leaving or left: the first ones, as they leave in order."""
        statement = (
            "SELECT coalesce(max(number) + 1, 0) FROM sent WHERE study = ? "
            "AND (left_to IS NOT NULL OR left_at IS NOT NULL)"
        )
        (count,) = self._run(statement, study).fetchone()
        return int(count)

    def mark_left(self, study: bytes, number: int, at: float, to: str) -> None:
        """That our message was handed to the connection with `to`; the first time counts. Becomes durable with the next
        commit: a kill before it leaves the time open. The message is then sent again, which counts as the first time;
        if it came back before that, the log says by when it was in the record.
        """
        self._write(
            "UPDATE sent SET left_at = ?, left_to = ? WHERE study = ? AND number = ? AND left_at IS NULL",
            *(at, to, study, number),
        )

    def forget_unsent(self, study: bytes, keep: int) -> None:
        """Deletes our messages that never left: the last ones, as messages leave in order. The first `keep` may have
        left; one whose time is noted did.
        """
        (noted,) = self._run(
            "SELECT coalesce(max(number), -1) FROM sent WHERE study = ? AND left_at IS NOT NULL", study
        ).fetchone()
        for table in ("sent", "sent_attachment"):
            self._write(f"DELETE FROM {table} WHERE study = ? AND number > ?", study, max(noted, keep - 1))  # noqa: S608  a name of ours
        self._counts.pop((study, None), None)

    def count_sent(self, study: bytes) -> int:
        """How many messages we have for this study."""
        return self._count("SELECT coalesce(max(number) + 1, 0) FROM sent WHERE study = ?", study)

    def recall(self, study: bytes, key: str) -> StoredMessage | None:
        """The message that was sent under a key."""
        row = self._run("SELECT number, key, envelope FROM sent WHERE study = ? AND key = ?", study, key).fetchone()
        return self._sent_message(study, row) if row else None

    def sent(self, study: bytes, number: int) -> StoredMessage:
        """Our message with that number."""
        statement = "SELECT number, key, envelope FROM sent WHERE study = ? AND number = ?"
        return self._sent_message(study, self._run(statement, study, number).fetchone())

    def sent_leaving(self, study: bytes, number: int) -> tuple[Frame, ...]:
        """Its envelope and attachments for sending: long ones stay on disk until they leave."""
        statement = "SELECT envelope FROM sent WHERE study = ? AND number = ?"
        (envelope,) = self._run(statement, study, number).fetchone()
        return envelope, *self._places("sent_attachment", study, number)

    def _sent_message(self, study: bytes, row: tuple[int, str, bytes]) -> StoredMessage:
        number, key, envelope = row
        return StoredMessage(number, key, envelope, self._attachments("sent_attachment", study, number))

    # --- secrets

    def vault(self, study: bytes) -> StudyVault:
        """The secrets of a study. The key file is made at the first call; a study that has ended has none. Where there
        are secrets and their key file is gone, every use of the vault raises DeclinedError.
        """
        if self.has_ended(study):
            raise NodeError("the study has ended and its secrets are destroyed")
        path = self._key_file(study)
        if not path.exists():
            if self._run("SELECT 1 FROM secret WHERE study = ?", study).fetchone():
                return StudyVault(self, study, None)
            make_private_folder(path.parent)
            write_private(path, secrets.token_bytes(32))
        return StudyVault(self, study, ChaCha20Poly1305(read_private(path)))

    def _key_file(self, study: bytes) -> Path:
        return self._folder / KEYS / f"{study.hex()}.key"

    def destroy_leftovers(self) -> None:
        """Key files of studies that ended while the process was being killed."""
        for path in (self._folder / KEYS).glob("*.key"):
            if re.fullmatch("[0-9a-f]{64}", path.stem) and self.has_ended(bytes.fromhex(path.stem)):
                destroy(path)

    def secret(self, study: bytes, name: str) -> bytes | None:
        """See `vault.Sealed`."""
        if (study, name) in self._short:
            return self._short[study, name]
        row = self._run("SELECT sealed FROM secret WHERE study = ? AND name = ?", study, name).fetchone()
        if row and len(row[0]) <= SHORT:
            self._short[study, name] = row[0]
        return row[0] if row else None

    def keep_secret(self, study: bytes, name: str, sealed: bytes) -> None:
        """See `vault.Sealed`."""
        self._write("INSERT INTO secret VALUES (?, ?, ?)", study, name, sealed)
        self.commit()
        if len(sealed) <= SHORT:
            self._short[study, name] = sealed
