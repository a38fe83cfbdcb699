"""A state of an older form: brought up on a copy, whole after a kill at any moment, and refused where it is too new."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hefed.node import schema
from hefed.node.errors import NodeError
from hefed.node.identity import Identity
from hefed.node.store import Store
from hefed.protocol import messages as m
from tests.node.runs import environment

STUDY, OTHER, EMPTY = b"s" * 32, b"o" * 32, b"e" * 32

FORM_1 = """
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
"""As hefed 0.1 made it."""

SIGNER = Identity.passing().signer


def signed(content: m.Content, study: bytes = STUDY, sender: str = "halland") -> m.Message:
    return SIGNER.sign(content, federation="test", study=study, sender=sender, previous=m.ZERO_HASH)


def invitation(name: object) -> m.Message:
    content = m.Invitation(
        definition={"study": {"id": name}}, nonce=bytes(32), roster=bytes(32), result_key=bytes(1216), expires=99
    )
    return signed(content, sender="ana")


INVITATION, CAME_BACK, NOT_YET = invitation("heart"), signed(m.Refusal(words="one")), signed(m.Refusal(words="two"))


def old_state(folder: Path) -> Path:
    """A state of form 1 with a running and an ended study and one that has no message, as a kill leaves it: most of it
    is in the write-ahead log.
    """
    made = folder.with_name(f"{folder.name} in the making")
    made.mkdir()
    with closing(sqlite3.connect(made / "state.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN; {FORM_1} PRAGMA user_version = 1; COMMIT;")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.executemany("INSERT INTO study VALUES (?, ?)", [(STUDY, 0), (OTHER, 1), (EMPTY, 1)])
        entries = [
            (STUDY, 0, "ana", "invitation", 10.0, INVITATION.envelope),
            (STUDY, 1, "halland", "refusal", 11.0, CAME_BACK.envelope),
            (OTHER, 0, "ana", "invitation", 5.0, b"not one at all"),
            (OTHER, 1, "aggregator", "end", 7.0, b"end"),
        ]
        db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", entries)
        db.execute("INSERT INTO attachment VALUES (?, 1, 0, ?)", (OTHER, b"frame" * 1000))
        db.executemany("INSERT INTO sent VALUES (?, ?, ?, ?)", [(STUDY, 0, "a", CAME_BACK.envelope)])
        db.executemany("INSERT INTO sent VALUES (?, ?, ?, ?)", [(STUDY, 1, "b", NOT_YET.envelope)])
        db.execute("INSERT INTO sent_attachment VALUES (?, 1, 0, ?)", (STUDY, b"mine"))
        shutil.copytree(made, folder)  # while it is open, so with its log
    assert (folder / "state.sqlite-wal").stat().st_size > 5000
    shutil.rmtree(made)
    return folder


def assert_brought_up(folder: Path) -> None:
    """All that was in the old state is in the new one, and what follows from it is filled in."""
    store = Store(folder)
    facts = store.facts(STUDY)
    assert facts is not None
    assert (facts.name, facts.analyst, facts.began, facts.ended_at) == ("heart", "ana", 10.0, None)
    assert store.running() == [STUDY]
    other = store.facts(OTHER)
    assert other is not None
    assert (other.name, other.began, other.ended_at, other.outcome) == (None, 5.0, 7.0, None)
    assert store.has_ended(EMPTY)
    assert [entry.envelope for entry in store.entries(STUDY)] == [INVITATION.envelope, CAME_BACK.envelope]
    assert store.entry(OTHER, 1).attachments == (b"frame" * 1000,)
    assert store.sent(STUDY, 1).attachments == (b"mine",)
    times = store._db.execute("SELECT key, made, left_at FROM sent ORDER BY number").fetchall()
    assert times == [("a", None, 11.0), ("b", None, None)]
    assert store._db.execute("PRAGMA user_version").fetchone() == (2,)
    assert store._db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    store.close()
    assert [path.name for path in folder.iterdir()] == ["state.sqlite"]
    assert (folder / "state.sqlite").stat().st_mode & 0o777 == 0o600


def test_an_old_state_is_brought_up_with_all_that_is_in_it(tmp_path: Path) -> None:
    assert_brought_up(old_state(tmp_path / "home"))


def test_its_secrets_open_still(tmp_path: Path) -> None:
    folder = old_state(tmp_path / "home")
    first = tmp_path / "first"
    store = Store(first)
    store.add_study(STUDY)
    store.vault(STUDY).get_or_create("seed", lambda: b"secret")
    sealed = store.secret(STUDY, "seed")
    store.close()
    with closing(sqlite3.connect(folder / "state.sqlite", isolation_level=None)) as db:
        db.execute("INSERT INTO secret VALUES (?, 'seed', ?)", (STUDY, sealed))
    shutil.copytree(first / "study-keys", folder / "study-keys")
    store = Store(folder)
    assert store.vault(STUDY).get_or_create("seed", lambda: b"another") == b"secret"
    store.close()


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from hefed.node import schema
from hefed.node.store import Store

at = int(sys.argv[2])
count = 0

def moment(*_):
    global count
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1

class Connection(sqlite3.Connection):
    def execute(self, *arguments):
        moment()
        done = super().execute(*arguments)
        moment()
        return done
    def executescript(self, statements):
        for statement in statements.split(";"):
            self.execute(statement)

connect = sqlite3.connect
sqlite3.connect = lambda *a, **k: connect(*a, **{**k, "factory": Connection})
for name in ("replace", "fsync", "unlink"):
    def wrapped(*arguments, real=getattr(os, name)):
        moment()
        done = real(*arguments)
        moment()
        return done
    setattr(os, name, wrapped)
Store(Path(sys.argv[1])).close()
print(count)
"""
"""Opens a state and kills itself before or after the n-th step of SQLite or of the file system."""


def opened_until(folder: Path, moment: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(moment)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_kill_at_any_moment_leaves_a_state_that_the_next_start_brings_up(tmp_path: Path) -> None:
    done = opened_until(old_state(tmp_path / "whole"), -1)
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout)
    assert moments > 60
    for moment in range(0, moments, 3):  # before some steps and after others
        folder = old_state(tmp_path / str(moment))
        ended = opened_until(folder, moment)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert_brought_up(folder)
        shutil.rmtree(folder)


def test_what_an_interrupted_copy_left_is_not_taken_into_the_next_one(tmp_path: Path) -> None:
    folder = old_state(tmp_path / "home")
    for name in ("state.sqlite.migrating", "state.sqlite.migrating-journal", "state.sqlite.migrating-wal"):
        (folder / name).write_bytes(b"half of something" * 1000)
    assert_brought_up(folder)


def test_a_state_that_somebody_reads_waits_for_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{"timeout": 0.1, **k}))  # do not wait 5 s
    folder = old_state(tmp_path / "home")
    with closing(connect(folder / "state.sqlite")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM study").fetchone()
        with pytest.raises(NodeError, match=r"state\.sqlite is in use by another program; stop that one"):
            Store(folder)
    assert_brought_up(folder)


def test_a_damaged_state_stays_as_it_is(tmp_path: Path) -> None:
    folder = old_state(tmp_path / "home")
    with closing(sqlite3.connect(folder / "state.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with (folder / "state.sqlite").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(os.urandom(size))
    with pytest.raises(NodeError, match=r"state\.sqlite cannot be used: database disk image is malformed"):
        Store(folder)
    with closing(sqlite3.connect(folder / "state.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_copy_that_lacks_something_does_not_take_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = schema.STEPS[1]

    def wrong(db: sqlite3.Connection) -> None:
        right(db)
        db.execute("DELETE FROM sent_attachment")

    monkeypatch.setitem(schema.STEPS, 1, wrong)
    folder = old_state(tmp_path / "home")
    with pytest.raises(NodeError, match="did not come out whole, so the old state stays"):
        Store(folder)
    monkeypatch.undo()
    assert_brought_up(folder)


def test_a_newer_state_is_refused_in_words(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        db.execute("PRAGMA user_version = 3")
    words = (
        f"{tmp_path / 'state.sqlite'} was written by a newer version of hefed (form 3 of the state, this one knows up "
        "to 2); install that version again"
    )
    with pytest.raises(NodeError) as caught:
        Store(tmp_path)
    assert str(caught.value) == words


def test_a_database_of_somebody_else_is_not_written_into(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(NodeError, match="a database, but not one of hefed; move it away"):
        Store(tmp_path)
