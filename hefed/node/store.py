"""State on disk: one SQLite file a member, with full flushing, and one owner-only key file a study.

What a member received and sent in a study stands in the database as it went over the wire. Its secrets stand there
encrypted under the study's key
file; destroying that file destroys them all, the write-ahead log's copies included. Nothing is sent before it is
stored: callers `commit` first.
"""

import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hefed.node.errors import NodeError
from hefed.node.files import destroy, make_private_folder, read_private, write_private
from hefed.protocol.messages import Message

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE study (study BLOB PRIMARY KEY, ended INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE entry (study BLOB, number INTEGER, sender TEXT, kind TEXT, at REAL, envelope BLOB,
    PRIMARY KEY (study, number)) WITHOUT ROWID;
CREATE TABLE attachment (study BLOB, number INTEGER, position INTEGER, data BLOB,
    PRIMARY KEY (study, number, position));
CREATE TABLE sent (study BLOB, number INTEGER, key TEXT, envelope BLOB,
    PRIMARY KEY (study, number), UNIQUE (study, key));
CREATE TABLE sent_attachment (study BLOB, number INTEGER, position INTEGER, data BLOB,
    PRIMARY KEY (study, number, position));
CREATE TABLE secret (study BLOB, name TEXT, sealed BLOB, PRIMARY KEY (study, name)) WITHOUT ROWID;
"""


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


class Store:
    """A member's state. Changes are durable after `commit`; secrets are as soon as they are made."""

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._path = folder / "state.sqlite"
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._path.chmod(0o600)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as error:
            raise NodeError(f"{self._path} cannot be used: {error}; look at the disk and the file's owner") from error

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise NodeError(
                f"{self._path} was written by another version of hefed (schema {version}, ours is {SCHEMA_VERSION})"
            )

    def close(self) -> None:
        """Commits and closes."""
        self.commit()
        self._db.close()

    def commit(self) -> None:
        """Makes all changes durable. Raises NodeError, with nothing lost, when the disk refuses."""
        if self._db.in_transaction:
            self._run("COMMIT")

    def _write(self, statement: str, *values: object) -> None:
        if not self._db.in_transaction:
            self._run("BEGIN")
        self._run(statement, *values)

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # ours, not the disk's
        except sqlite3.DatabaseError as error:
            with suppress(sqlite3.Error):
                self._db.rollback()
            raise NodeError(
                f"{self._path} cannot be used: {error}; free some space or mend the disk, then start again"
            ) from error

    # --- studies ------------------------------------------------------------------------------------------------------
    # ---------------

    def add_study(self, study: bytes) -> None:
        """A study that is new here; known ones stay as they are."""
        self._write("INSERT OR IGNORE INTO study (study) VALUES (?)", study)

    def studies(self) -> list[bytes]:
        """All studies, ended ones too."""
        return [study for (study,) in self._run("SELECT study FROM study")]

    def running(self) -> list[bytes]:
        """The studies that have not ended."""
        return [study for (study,) in self._run("SELECT study FROM study WHERE ended = 0")]

    def has_ended(self, study: bytes) -> bool:
        """Whether a study has ended here; it is then never taken up again."""
        return self._run("SELECT 1 FROM study WHERE study = ? AND ended = 1", study).fetchone() is not None

    def end_study(self, study: bytes) -> None:
        """Marks a study as ended, durably, and destroys its secrets."""
        self._write("UPDATE study SET ended = 1 WHERE study = ?", study)
        self._write("DELETE FROM secret WHERE study = ?", study)
        self.commit()
        destroy(self._key_file(study))
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- the record
    # ------------------------------------------------------------------------------------------------------------------

    def append(self, study: bytes, number: int, message: Message, at: float, attachments: tuple[bytes, ...]) -> None:
        """The next entry of a study's record."""
        values = (study, number, message.sender, message.body.kind, at, message.envelope)
        self._write("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", *values)
        for position, data in enumerate(attachments):
            self._write("INSERT INTO attachment VALUES (?, ?, ?, ?)", study, number, position, data)

    def length(self, study: bytes) -> int:
        """How many entries the record has."""
        (length,) = self._run("SELECT count(*) FROM entry WHERE study = ?", study).fetchone()
        return int(length)

    def sent_by(self, study: bytes, sender: str) -> int:
        """How many entries of the record are a member's."""
        (count,) = self._run("SELECT count(*) FROM entry WHERE study = ? AND sender = ?", study, sender).fetchone()
        return int(count)

    def entry(self, study: bytes, number: int) -> StoredEntry:
        """One entry with all attachments that are kept here."""
        kind, at, envelope = self._run(
            "SELECT kind, at, envelope FROM entry WHERE study = ? AND number = ?", study, number
        ).fetchone()
        return StoredEntry(number, kind, at, envelope, self._attachments("attachment", study, number))

    def entries(self, study: bytes) -> Iterator[StoredEntry]:
        """The whole record, in order."""
        return (self.entry(study, number) for number in range(self.length(study)))

    def _attachments(self, table: str, study: bytes, number: int) -> tuple[bytes, ...]:
        statement = f"SELECT data FROM {table} WHERE study = ? AND number = ? ORDER BY position"  # noqa: S608  a name of ours
        return tuple(data for (data,) in self._run(statement, study, number))

    # --- what was sent
    # -----------------------------------------------------------------------------------------------------------------

    def remember(self, study: bytes, key: str, envelope: bytes, attachments: tuple[bytes, ...]) -> int:
        """A message that is about to be sent, under its key; returns its place among ours in this study."""
        number = self.count_sent(study)
        self._write("INSERT INTO sent VALUES (?, ?, ?, ?)", study, number, key, envelope)
        for position, data in enumerate(attachments):
            self._write("INSERT INTO sent_attachment VALUES (?, ?, ?, ?)", study, number, position, data)
        return number

    def count_sent(self, study: bytes) -> int:
        """How many messages we have for this study."""
        (count,) = self._run("SELECT count(*) FROM sent WHERE study = ?", study).fetchone()
        return int(count)

    def recall(self, study: bytes, key: str) -> StoredMessage | None:
        """The message that was sent under a key."""
        row = self._run("SELECT number, key, envelope FROM sent WHERE study = ? AND key = ?", study, key).fetchone()
        return self._sent_message(study, row) if row else None

    def sent(self, study: bytes, number: int) -> StoredMessage:
        """Our message with that number."""
        statement = "SELECT number, key, envelope FROM sent WHERE study = ? AND number = ?"
        return self._sent_message(study, self._run(statement, study, number).fetchone())

    def _sent_message(self, study: bytes, row: tuple[int, str, bytes]) -> StoredMessage:
        number, key, envelope = row
        return StoredMessage(number, key, envelope, self._attachments("sent_attachment", study, number))

    # --- secrets ------------------------------------------------------------------------------------------------------
    # -----------------

    def vault(self, study: bytes) -> "StudyVault":
        """The secrets of a study. The key file is made at the first call; a study that has ended has none."""
        if self.has_ended(study):
            raise NodeError("the study has ended and its secrets are destroyed")
        path = self._key_file(study)
        if not path.exists():
            make_private_folder(path.parent)
            write_private(path, secrets.token_bytes(32))
        return StudyVault(self, study, ChaCha20Poly1305(read_private(path)))

    def _key_file(self, study: bytes) -> Path:
        return self._folder / "study-keys" / f"{study.hex()}.key"

    def destroy_leftovers(self) -> None:
        """Key files of studies that ended while the process was being killed."""
        for path in (self._folder / "study-keys").glob("*.key"):
            if re.fullmatch("[0-9a-f]{64}", path.stem) and self.has_ended(bytes.fromhex(path.stem)):
                destroy(path)

    def _secret(self, study: bytes, name: str) -> bytes | None:
        row = self._run("SELECT sealed FROM secret WHERE study = ? AND name = ?", study, name).fetchone()
        return row[0] if row else None

    def _keep_secret(self, study: bytes, name: str, sealed: bytes) -> None:
        self._write("INSERT INTO secret VALUES (?, ?, ?)", study, name, sealed)
        self.commit()


class StudyVault:
    """Implements `hefed.protocol.ports.Vault` on a store."""

    def __init__(self, store: Store, study: bytes, cipher: ChaCha20Poly1305) -> None:
        self._store, self._study, self._cipher = store, study, cipher

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of that name; made, encrypted and flushed at the first call. Raises NodeError when its key file is
        not the one.
        """
        sealed = self._store._secret(self._study, name)
        bound = self._study + name.encode()
        if sealed is None:
            secret = make()
            nonce = secrets.token_bytes(12)
            self._store._keep_secret(self._study, name, nonce + self._cipher.encrypt(nonce, secret, bound))
            return secret
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], bound)
        except InvalidTag as error:
            raise NodeError(
                "a study's key file is not the one its secrets were stored under; the study cannot go on here"
            ) from error
