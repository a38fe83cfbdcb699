"""One SQLite file with full flushing: what is written is durable after `commit`, and what the disk refuses is an error.

Attachments, which can be long, are written and read a piece at a time. Relies on `schema` for the database's form. Must
not hold a read transaction open: the write-ahead log would grow.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hefed.crypto.buffer import Buffer
from hefed.node import schema
from hefed.node.errors import GoneError, NodeError
from hefed.node.files import make_private_folder

FILE = "state.sqlite"

LOG_PAGES = 1000
"""Pages that the write-ahead log may have before it is folded into the database."""
LOG_BYTES = 4 * 2**20
"""What the file of the write-ahead log is cut to once it has been folded in."""
AT_ONCE = 2**20
"""Bytes of an attachment that are written or read at a time; a longer one is not given to SQLite whole, which would
copy it.
"""

_AT = "WHERE study = ? AND number = ? AND position = ?"


class OnDisk:
    """A long attachment that is read when it leaves; implements `frames.Kept`. Raises NodeError when it cannot be, and
    GoneError when it is not kept any more.
    """

    def __init__(self, store: "Database", table: str, place: tuple[bytes, int, int], size: int) -> None:
        """`place` is the study, the message's number, and which of its attachments it is."""
        self._store, self._table, self.place, self._size = store, table, place, size

    def __len__(self) -> int:
        return self._size

    def pieces(self, size: int) -> Iterator[Buffer]:
        """See `Kept`."""
        for start in range(0, self._size, AT_ONCE):
            some = memoryview(self._store.read(self._table, self.place, start, AT_ONCE))
            yield from (some[begin : begin + size] for begin in range(0, len(some), size))


class Database:
    """The file in a folder, and the attachments in it."""

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._path = folder / FILE
        try:
            schema.prepare(self._path)
            self._db = sqlite3.connect(self._path, isolation_level=None)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        try:
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                f"wal_autocheckpoint = {LOG_PAGES}",
                f"journal_size_limit = {LOG_BYTES}",
            ):
                self._db.execute(f"PRAGMA {pragma}")
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the second: SQLite quotes what it cannot read
            self._db.close()
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> NodeError:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            return NodeError(f"{self._path} is in use by another program; stop that one, then start again")
        reason: object = (error.strerror or "unknown reason").lower() if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            reason = "database disk image is malformed"
        return NodeError(f"{self._path} cannot be used: {reason}; look at the disk and the file's owner")

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
            raise self._refused(error) from error

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """What the disk refuses is a NodeError, and nothing of the step under way is stored."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # ours, not the disk's
        except sqlite3.DatabaseError as error:
            raise self._refused(error) from error

    def _refused(self, error: sqlite3.DatabaseError) -> NodeError:
        with suppress(sqlite3.Error):
            self._db.rollback()
        return NodeError(f"{self._path} cannot be used: {error}; free some space or mend the disk, then start again")

    # --- attachments

    def _keep_attachments(self, table: str, study: bytes, number: int, attachments: tuple[Buffer, ...]) -> None:
        for position, data in enumerate(attachments):
            place = study, number, position
            if len(data) <= AT_ONCE:
                self._write(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", *place, data)  # noqa: S608  a name of ours
                continue
            self._write(f"INSERT INTO {table} VALUES (?, ?, ?, zeroblob(?))", *place, len(data))  # noqa: S608  names of ours
            (row,) = self._run("SELECT last_insert_rowid()").fetchone()
            view = memoryview(data)
            with self._disk(), self._db.blobopen(table, "data", row) as blob:
                for start in range(0, len(view), AT_ONCE):
                    blob.write(view[start : start + AT_ONCE])

    def _attachments(self, table: str, study: bytes, number: int) -> tuple[bytes, ...]:
        return tuple(
            one if isinstance(one, bytes) else self.read(table, one.place, 0, len(one))
            for one in self._places(table, study, number)
        )

    def _places(self, table: str, study: bytes, number: int) -> Iterator[bytes | OnDisk]:
        """Short attachments, and where long ones are."""
        statement = f"SELECT position, length(data) FROM {table} WHERE study = ? AND number = ? ORDER BY position"  # noqa: S608  names of ours
        for position, size in self._run(statement, study, number).fetchall():
            place = study, number, position
            if size > AT_ONCE:
                yield OnDisk(self, table, place, size)
            else:
                (data,) = self._run(f"SELECT data FROM {table} {_AT}", *place).fetchone()  # noqa: S608  names of ours
                yield data

    def read(self, table: str, place: tuple[bytes, int, int], start: int, size: int) -> bytes:
        """Bytes of a long attachment from a place in it on, as many as there are at most. Raises GoneError."""
        row = self._run(f"SELECT rowid FROM {table} {_AT}", *place).fetchone()  # noqa: S608  a name of ours
        if row is None:
            raise GoneError("an attachment is not kept any more")
        with self._disk(), self._db.blobopen(table, "data", row[0], readonly=True) as blob:
            blob.seek(start)
            return blob.read(size)
