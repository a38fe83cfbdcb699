"""The form of a member's database, and how an older one is brought to it.

A database of an older form is copied, the copy is brought up, checked and flushed, and then takes the place of the old
one by one rename. A kill at any moment leaves the old one or the new one, whole. The old one is not kept: a state that
somebody puts back later would answer again under labels that have been used.

Relies on SQLite for the copy and on `files` for flushing. Must not touch an older database but to fold its write-ahead
log into it, and must not open one of a newer form.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from hefed.node.errors import NodeError
from hefed.node.files import flush_folder
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.messages import printable

VERSION = 2
COPY = ".migrating"
"""Ends the name of a copy that is being brought up; whatever has that name at a start is left over and goes."""

TABLES = f"""
CREATE TABLE study (study BLOB PRIMARY KEY, name TEXT, analyst TEXT, began REAL, approval TEXT, ended_at REAL,
    outcome TEXT, kept INTEGER NOT NULL DEFAULT 2, own_rows INTEGER) WITHOUT ROWID;
CREATE TABLE entry (study BLOB, number INTEGER, sender TEXT, kind TEXT, at REAL, envelope BLOB,
    PRIMARY KEY (study, number)) WITHOUT ROWID;
CREATE INDEX entry_sender ON entry (study, sender);
CREATE TABLE attachment (study BLOB, number INTEGER, position INTEGER, data BLOB,
    PRIMARY KEY (study, number, position));
CREATE TABLE sent (study BLOB, number INTEGER, key TEXT, envelope BLOB, made REAL, left_at REAL, left_to TEXT,
    PRIMARY KEY (study, number), UNIQUE (study, key));
CREATE TABLE sent_attachment (study BLOB, number INTEGER, position INTEGER, data BLOB,
    PRIMARY KEY (study, number, position));
CREATE TABLE opened (study BLOB, number INTEGER, packed BLOB, PRIMARY KEY (study, number));
CREATE TABLE secret (study BLOB, name TEXT, sealed BLOB, PRIMARY KEY (study, name)) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
"""Times are seconds since 1970. `ended_at` is null while a study runs. `kept` says what there is of a study: 2 all of
it, 1 its messages without their attachments, 0 nothing but that it took place. `made` is when a message was stored and
`left_at` when it was first handed to the connection; null in messages of form 1 stands for times that were not kept.
`left_to` alone marks a message that is about to leave.
`opened` has what a reader opened, by round; `own_rows` is how many of its patients a region gave.
"""

_TO_2 = """
ALTER TABLE study RENAME TO study_1;
CREATE TABLE study (study BLOB PRIMARY KEY, name TEXT, analyst TEXT, began REAL, approval TEXT, ended_at REAL,
    outcome TEXT, kept INTEGER NOT NULL DEFAULT 2, own_rows INTEGER) WITHOUT ROWID;
INSERT INTO study (study, began, ended_at)
    SELECT study, (SELECT min(at) FROM entry WHERE entry.study = study_1.study),
        CASE WHEN ended THEN coalesce((SELECT max(at) FROM entry WHERE entry.study = study_1.study), 0) END
    FROM study_1;
DROP TABLE study_1;
CREATE INDEX entry_sender ON entry (study, sender);
CREATE TABLE opened (study BLOB, number INTEGER, packed BLOB, PRIMARY KEY (study, number));
ALTER TABLE sent ADD COLUMN made REAL;
ALTER TABLE sent ADD COLUMN left_at REAL;
ALTER TABLE sent ADD COLUMN left_to TEXT;
PRAGMA user_version = 2;
"""


def prepare(path: Path) -> None:
    """Makes the database at `path`, or brings an older one to this form; one of this form stays as it is.

    Raises sqlite3.Error or OSError for a disk that refuses, NodeError for a database that cannot be brought up.
    """
    for left_over in path.parent.glob(f"{path.name}{COPY}*"):  # with its journal, which would be played into the next
        left_over.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        path.chmod(0o600)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _make(db, path)
        elif version > VERSION:
            raise NodeError(newer(path, version))
        elif version < VERSION:
            _copy(db, path)
    if 0 < version < VERSION:
        _bring_up(_copy_of(path), version)
        _take_its_place(path)


def newer(path: Path, version: int) -> str:
    """Why a database of a newer form is not opened."""
    return (
        f"{path} was written by a newer version of hefed (form {version} of the state, this one knows "
        f"up to {VERSION}); install that version again"
    )


def _copy_of(path: Path) -> Path:
    return path.with_name(path.name + COPY)


def _make(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise NodeError(f"{path} is a database, but not one of hefed; move it away")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that deleting gives the disk its room back
    _in_one_step(db, TABLES)


def _in_one_step(db: sqlite3.Connection, statements: str) -> None:
    db.executescript(f"BEGIN; {statements} COMMIT;")


def _copy(db: sqlite3.Connection, path: Path) -> None:
    # A log that outlived its database would be played into the new one: fold it in first, and have none.
    (mode,) = db.execute("PRAGMA journal_mode = DELETE").fetchone()
    if mode != "delete":
        raise NodeError(f"{path} is being read by another program; stop that one, then start again")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    copy = _copy_of(path)
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    db.execute("VACUUM INTO ?", (str(copy),))


def _bring_up(copy: Path, version: int) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")
        before = _counts(db)
        while version < VERSION:
            STEPS[version](db)
            version += 1
        (fault,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if fault != "ok" or _counts(db) != before:
            raise NodeError(
                f"{copy} did not come out whole, so the old state stays: {fault}; "
                "look at the disk, or go on with the older version of hefed"
            )
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _counts(db: sqlite3.Connection) -> list[int]:
    tables = ("study", "entry", "attachment", "sent", "sent_attachment", "secret")
    return [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608  names of ours


def _take_its_place(path: Path) -> None:
    os.replace(_copy_of(path), path)
    flush_folder(path.parent)


def _from_1(db: sqlite3.Connection) -> None:
    """Names what form 1 did not: studies by their invitations, and when at the latest a message had left."""
    db.executescript(f"BEGIN; {_TO_2}")
    firsts = db.execute("SELECT study, sender, envelope FROM entry WHERE number = 0 AND kind = 'invitation'").fetchall()
    for study, analyst, envelope in firsts:
        db.execute("UPDATE study SET name = ?, analyst = ? WHERE study = ?", (_name_in(envelope), analyst, study))
    # What stands in the record came back from the aggregator, so it had left by then.
    db.execute(
        "UPDATE sent SET left_at = (SELECT at FROM entry WHERE entry.study = sent.study AND entry.envelope = "
        "sent.envelope)"
    )
    db.execute("COMMIT")


def study_name(definition: object) -> str | None:
    """What a study calls itself, printable; None when its definition, not yet checked by anybody, has no such name."""
    match definition:
        case {"study": {"id": str(name)}}:
            return printable(name[:64])
    return None


def _name_in(envelope: bytes) -> str | None:
    with suppress(EncodingError):
        match codec.decode(envelope):
            case [bytes(body), bytes()]:
                match codec.decode(body):
                    case {"content": {"definition": definition}}:
                        return study_name(definition)
    return None


STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1}
"""From each older form to the next one."""
