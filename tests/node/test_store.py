"""State on disk: what is durable, who can read it, and how it is destroyed."""

import os
import secrets
import sqlite3
from pathlib import Path

import pytest

from hefed.node import files
from hefed.node.errors import NodeError
from hefed.node.identity import Identity
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.ports import DeclinedError

STUDY, OTHER = b"s" * 32, b"o" * 32


def message(words: str = "no") -> m.Message:
    signer = m.Signer(secrets.token_bytes(32))
    content = m.Refusal(words=words)
    return signer.sign(content, federation="test", study=STUDY, sender="halland", previous=m.ZERO_HASH)


# --- Files -----------------------------------------------------------------------------------------


def test_a_secret_file_is_its_owners_and_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    files.write_private(path, b"first")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        files.write_private(path, b"second")
    assert files.read_private(path) == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["a.key"]


def test_what_a_kill_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "a.key.partial").write_bytes(b"hal")
    files.write_private(tmp_path / "a.key", b"whole")
    assert files.read_private(tmp_path / "a.key") == b"whole"
    assert [one.name for one in tmp_path.iterdir()] == ["a.key"]


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(b"secret")
    path.chmod(0o640)
    with pytest.raises(NodeError, match=r"chmod 600 .*a\.key"):
        files.read_private(path)


def test_destroying_a_file_overwrites_what_was_in_it(tmp_path: Path) -> None:
    path, still = tmp_path / "a.key", tmp_path / "still"
    files.write_private(path, b"secret" * 10)
    os.link(path, still)  # another name for the same bytes on disk
    files.destroy(path)
    assert not path.exists()
    assert len(still.read_bytes()) == 60
    assert b"secret" not in still.read_bytes()
    files.destroy(path)  # nothing to do


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    descriptor = files.lock_folder(tmp_path)
    with pytest.raises(NodeError, match="in use by another hefed process"):
        files.lock_folder(tmp_path)
    os.close(descriptor)
    os.close(files.lock_folder(tmp_path))


def test_an_identity_is_never_overwritten_and_comes_back_as_it_was(tmp_path: Path) -> None:
    made = Identity.create(tmp_path)
    with pytest.raises(NodeError, match="never overwritten"):
        Identity.create(tmp_path)
    loaded = Identity.load(tmp_path)
    assert loaded.member("orebro", ("reader",)) == made.member("orebro", ("reader",))
    assert loaded.transport_secret == made.transport_secret
    assert loaded.transport_secret.hex() not in repr(loaded)


@pytest.mark.parametrize("content", [b"", b"\xa0", b"nonsense", b"\xa1\x67signing\x41\x00"])
def test_a_file_that_is_no_identity_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    files.write_private(tmp_path / "identity.key", content)
    with pytest.raises(NodeError, match=r"identity\.key is not an identity of hefed"):
        Identity.load(tmp_path)


# --- The database ----------------------------------------------------------------------------------


def test_only_the_owner_can_enter_and_read(tmp_path: Path) -> None:
    Store(tmp_path / "state").close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state/state.sqlite").stat().st_mode & 0o777 == 0o600


def test_what_was_committed_is_there_again_and_the_rest_is_not(tmp_path: Path) -> None:
    first, second = message("first"), message("second")
    store = Store(tmp_path)
    store.add_study(STUDY)
    store.remember(STUDY, "refusal", first.envelope, (b"one", b"two"))
    store.append(STUDY, 0, first, 1.0, (b"three",))
    store.commit()
    store.append(STUDY, 1, second, 2.0, ())
    store._db.close()  # as a kill does
    store = Store(tmp_path)
    assert store.running() == [STUDY]
    assert store.length(STUDY) == 1
    assert store.entry(STUDY, 0).envelope == first.envelope
    assert store.entry(STUDY, 0).attachments == (b"three",)
    recalled = store.recall(STUDY, "refusal")
    assert recalled is not None
    assert (recalled.number, recalled.envelope, recalled.attachments) == (0, first.envelope, (b"one", b"two"))
    assert store.recall(STUDY, "approval") is None
    assert store.recall(OTHER, "refusal") is None
    store.close()


def test_a_second_message_under_one_key_is_never_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(STUDY, "contribution 3", b"first", ())
    with pytest.raises(sqlite3.IntegrityError):
        store.remember(STUDY, "contribution 3", b"second", ())
    store._db.close()


def test_a_secret_is_made_once_and_stands_on_disk_encrypted_only(tmp_path: Path) -> None:
    secret = secrets.token_bytes(32)
    store = Store(tmp_path)
    store.add_study(STUDY)
    assert store.vault(STUDY).get_or_create("seed", lambda: secret) == secret
    store._db.close()  # as a kill does: it was durable at once
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert secret not in path.read_bytes()
    store = Store(tmp_path)
    assert store.vault(STUDY).get_or_create("seed", lambda: b"another") == secret
    store.close()


def test_the_end_of_a_study_destroys_its_secrets_and_no_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for study in (STUDY, OTHER):
        store.add_study(study)
        store.vault(study).get_or_create("seed", lambda study=study: study)
    sealed = store.secret(STUDY, "seed")
    assert sealed is not None
    store.end_study(STUDY)
    with pytest.raises(NodeError, match="has ended and its secrets are destroyed"):
        store.vault(STUDY)
    assert [path.stem for path in (tmp_path / "study-keys").iterdir()] == [OTHER.hex()]
    assert all(sealed not in path.read_bytes() for path in filter(Path.is_file, tmp_path.rglob("*")))
    assert store.vault(OTHER).get_or_create("seed", lambda: b"another") == OTHER
    store.add_study(STUDY)  # it stays ended
    assert store.running() == [OTHER]
    store.close()


def test_a_kill_in_the_middle_of_ending_a_study_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_study(STUDY)
    store.vault(STUDY).get_or_create("seed", lambda: b"x" * 32)
    store._write("UPDATE study SET ended_at = 1.0 WHERE study = ?", STUDY)
    store.close()  # after the mark, before the key
    store = Store(tmp_path)
    store.destroy_leftovers()
    assert list((tmp_path / "study-keys").iterdir()) == []
    store.close()


def test_secrets_cannot_be_exchanged_nor_opened_with_another_key_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    vault = store.vault(STUDY)
    vault.get_or_create("seed", lambda: b"x" * 32)
    vault.get_or_create("salt", lambda: b"y" * 32)
    store._write("UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE name = 'salt') WHERE name = 'seed'")
    assert vault.get_or_create("seed", lambda: b"z" * 32) == b"x" * 32, "a process that runs goes on with its own"
    store.close()
    store = Store(tmp_path)
    vault = store.vault(STUDY)
    with pytest.raises(DeclinedError, match="key file is not the one"):
        vault.get_or_create("seed", lambda: b"z" * 32)
    (path,) = (tmp_path / "study-keys").iterdir()
    path.write_bytes(secrets.token_bytes(32))
    with pytest.raises(DeclinedError, match="key file is not the one"):
        store.vault(STUDY).get_or_create("salt", lambda: b"z" * 32)
    store.close()


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(STUDY, 0, message("first"), 1.0, ())
    store.commit()
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(NodeError, match=r"state\.sqlite cannot be used: .*full; free some space"):
        store.append(STUDY, 1, message("second"), 2.0, (bytes(10**6),))
    store._db.close()
    store = Store(tmp_path)
    assert store.length(STUDY) == 1
    store.close()


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(NodeError, match=r"state\.sqlite cannot be used"):
        Store(tmp_path)
    (tmp_path / "state.sqlite").unlink()
    store = Store(tmp_path)
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(NodeError, match="written by a newer version of hefed"):
        Store(tmp_path)


def test_where_a_key_file_is_gone_no_new_one_is_made_beside_old_secrets(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_study(STUDY)
    store.vault(STUDY).get_or_create("seed", lambda: b"x" * 32)
    (path,) = (tmp_path / "study-keys").iterdir()
    path.unlink()
    vault = store.vault(STUDY)
    for name in ("seed", "another"):
        with pytest.raises(DeclinedError, match="the keys of this study are lost"):
            vault.get_or_create(name, lambda: b"z" * 32)
    assert list((tmp_path / "study-keys").iterdir()) == []
    assert store.vault(bytes(32)).get_or_create("seed", lambda: b"y" * 32) == b"y" * 32


def test_only_what_never_left_is_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_study(STUDY)
    for number, key in enumerate(("approval", "deal", "contribution 0")):
        assert store.remember(STUDY, key, key.encode(), (b"frame",)) == number
    assert store.count_marked(STUDY) == 0
    store.mark_left(STUDY, 0, 1.0, "aggregator")
    store.mark_left(STUDY, 1, 2.0, "aggregator")
    store.mark_leaving(STUDY, 2, "aggregator")
    assert store.count_marked(STUDY) == 3
    store.forget_unsent(STUDY, 3)
    assert store.count_sent(STUDY) == 3
    store.forget_unsent(STUDY, 0)
    assert store.count_marked(STUDY) == 2
    store.commit()
    assert store.count_sent(STUDY) == 2
    assert store.recall(STUDY, "contribution 0") is None
    assert store.sent(STUDY, 1).attachments == (b"frame",)


def test_counts_are_kept_for_studies_that_run_here_and_no_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(20):
        assert store.sent_by(secrets.token_bytes(32), "halland") == store.count_sent(secrets.token_bytes(32)) == 0
    assert not store._counts
    store.add_study(STUDY)
    assert store.count_sent(STUDY) == 0
    for number in range(3):
        store.remember(STUDY, f"contribution {number}", b"", ())
        assert store.count_sent(STUDY) == number + 1
    store.forget_unsent(STUDY, 2)  # more may have left than is noted
    assert store.count_sent(STUDY) == 2
    store.forget_unsent(STUDY, 0)
    assert store.count_sent(STUDY) == 0
    store.end_study(STUDY)
    assert store.count_sent(STUDY) == 0
    assert not store._counts
