"""Keys under a passphrase: what stands on disk, what a kill leaves, and that nothing opens without the passphrase."""

import errno
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hefed.node import files, keys, passphrase, store, wrapping
from hefed.node.errors import NodeError
from hefed.node.home import Home
from hefed.node.identity import Identity, put_under
from hefed.node.store import Store
from hefed.protocol import codec
from tests.node.runs import environment
from tests.node.witness import search

WORDS = "correct horse battery staple ö"
STUDY, OTHER = bytes(range(32)), bytes(32)
SEED = b"the seed of a study, 32 bytes lo"


@pytest.fixture(autouse=True)
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the passphrase, which the environment names; no home is open yet."""
    path = tmp_path / "passphrase"
    files.write_private(path, f"{WORDS}\n".encode())
    monkeypatch.setenv("HEFED_PASSPHRASE_FILE", str(path))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    forget()
    return path


def forget() -> None:
    """As a new process: no passphrase was given and no home opened."""
    passphrase._derived.clear()
    wrapping._opened.clear()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without a passphrase in which a study runs."""
    Home.init(tmp_path / "home", "halland")
    assert seed_of(tmp_path / "home") == SEED
    return tmp_path / "home"


def seed_of(home: Path, study: bytes = STUDY) -> bytes:
    """The secret of a study, made at the first look."""
    opened = Store(home)
    try:
        opened.add_study(study)
        opened.commit()
        return opened.vault(study).get_or_create("seed", lambda: SEED)
    finally:
        opened.close()


def key_file(home: Path, study: bytes = STUDY) -> Path:
    return home / store.KEYS / f"{study.hex()}.key"


def secrets_of(home: Path) -> dict[str, bytes]:
    """What must be nowhere on disk once there is a passphrase; for a home without one."""
    content = codec.decode((home / "identity.key").read_bytes())
    return content | {"study key": key_file(home).read_bytes(), "passphrase": WORDS.encode()}


# --- Protected and not -----------------------------------------------------------------------------


def test_where_study_keys_lie_is_the_same_for_all() -> None:
    assert wrapping.STUDY_KEYS == store.KEYS


def test_a_protected_home_has_no_secret_in_any_file_and_works_as_before(home: Path) -> None:
    before, secrets = Home(home).card(), secrets_of(home)
    assert set(search(home, secrets)) == {"signing", "transport", "study key"}  # the control
    made = (home / "identity.key").stat().st_mtime_ns
    assert keys.protect(home) == 1
    assert search(home, secrets) == {}
    assert {path.stat().st_mode & 0o777 for path in (home / "identity.key", key_file(home))} == {0o600}
    forget()
    assert Home(home).card() == before
    assert seed_of(home) == SEED
    assert seed_of(home, OTHER) == SEED
    assert key_file(home, OTHER).read_bytes().startswith(wrapping.SEALED)
    found = keys.look(home)
    assert (found.name, found.fingerprint, found.protected) == ("halland", before.fingerprint, True)
    assert found.studies == ((OTHER.hex(), True), (STUDY.hex(), True))
    assert (home / "identity.key").stat().st_mtime_ns == made
    assert keys.unprotect(home) == 2
    assert secrets_of(home) == secrets
    assert not keys.look(home).protected


def test_the_passphrase_is_asked_for_once_a_process(home: Path, given: Path) -> None:
    keys.protect(home)
    forget()
    Home(home)
    given.unlink()
    Identity.load(home)
    assert seed_of(home) == SEED
    forget()
    with pytest.raises(NodeError, match="passphrase cannot be read"):
        Home(home)


def test_a_home_that_is_not_open_gives_and_takes_no_study_key(home: Path) -> None:
    keys.protect(home)
    forget()
    for study in (STUDY, OTHER):
        with pytest.raises(NodeError, match="is under a passphrase, and this process has not opened it"):
            seed_of(home, study)
    assert not key_file(home, OTHER).exists()


def test_another_passphrase_opens_what_there_was(home: Path, given: Path) -> None:
    keys.protect(home)
    put_under(home, b"another one altogether")
    forget()
    with pytest.raises(NodeError, match="does not open"):
        Home(home)
    given.write_text("another one altogether")
    assert Home(home).card().name == "halland"
    assert seed_of(home) == SEED


def test_a_passphrase_that_is_not_there_is_neither_taken_off_nor_changed(home: Path) -> None:
    with pytest.raises(NodeError, match="not under a passphrase, so there is none to remove"):
        keys.unprotect(home)
    with pytest.raises(NodeError, match="not under a passphrase yet; leave out --change"):
        keys.protect(home, change=True)


def test_a_home_is_made_under_a_passphrase_and_never_stands_there_without(tmp_path: Path) -> None:
    made = Home.init(tmp_path / "new", "orebro", passphrase.new_passphrase)
    content = {"signing": made.identity._key.private_bytes_raw(), "transport": made.identity.transport_secret}
    assert search(tmp_path / "new", content) == {}
    (tmp_path / "new/orebro.card").unlink()
    forget()
    assert Home.init(tmp_path / "new", "orebro").card() == made.card()


def test_a_running_process_keeps_its_home(home: Path) -> None:
    lock = files.lock_folder(home)
    try:
        with pytest.raises(NodeError, match="in use by another hefed process"):
            keys.protect(home)
    finally:
        os.close(lock)
    assert not wrapping.is_protected(home)


# --- Wrong, altered, moved ---------------------------------------------------------------------------


def refusal(home: Path) -> str:
    with pytest.raises(NodeError) as caught:
        Identity.load(home)
    return str(caught.value)


def test_a_wrong_passphrase_and_an_altered_file_are_told_in_the_same_words(home: Path, given: Path) -> None:
    keys.protect(home)
    path = home / "identity.key"
    whole = path.read_bytes()
    content = codec.decode(whole.removeprefix(wrapping.PROTECTED))
    nonce, box = (whole.index(content[name]) for name in ("nonce", "sealed"))
    salt = whole.index(content["header"]["salt"])
    Identity.load(home)
    said = set()
    for at in (salt, *range(nonce, nonce + 12), *range(box, box + len(content["sealed"]))):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        said.add(refusal(home))
    path.write_bytes(whole)
    forget()
    given.write_text("the wrong one, and long")
    said.add(refusal(home))
    assert said == {
        f"{path} does not open: the passphrase is another one, or the file was altered; "
        "try again, or restore the file from its backup"
    }


@pytest.mark.parametrize(("name", "value"), [("memory", 2**40), ("memory", 8), ("iterations", 2**31), ("lanes", 0)])
def test_costs_that_would_take_the_machine_are_not_paid(name: str, value: int, home: Path) -> None:
    keys.protect(home)
    path = home / "identity.key"
    content = codec.decode(path.read_bytes().removeprefix(wrapping.PROTECTED))
    content["header"][name] = value
    path.write_bytes(wrapping.PROTECTED + codec.encode(content))
    assert refusal(home) == f"{path} is not an identity of hefed; restore it from its backup"


HEADER = {"kdf": "argon2id", "memory": 8192, "iterations": 1, "lanes": 1, "salt": bytes(16)}
NO_FILES = (
    {"header": {}, "nonce": bytes(12), "sealed": b""},
    {"header": HEADER, "nonce": 2**60, "sealed": b""},
    {"header": HEADER, "nonce": bytes(11), "sealed": b""},
    {"header": HEADER, "nonce": bytes(12), "sealed": 2**60},
    {"header": HEADER, "nonce": bytes(12)},
    [HEADER, bytes(12), b""],
)


@pytest.mark.parametrize("rest", [b"", b"\xa0", b"nonsense", *map(codec.encode, NO_FILES)])
def test_a_file_that_only_begins_like_an_identity_is_none(rest: bytes, home: Path) -> None:
    (home / "identity.key").write_bytes(wrapping.PROTECTED + rest)
    assert "is not an identity of hefed" in refusal(home)


def test_a_study_key_opens_nowhere_but_in_its_place(home: Path) -> None:
    keys.protect(home)
    seed_of(home, OTHER)
    key, other = key_file(home), key_file(home, OTHER)
    whole = key.read_bytes()
    for data in (other.read_bytes(), whole[:-1], whole[: len(wrapping.SEALED) + 3], whole[:-1] + b"?"):
        key.write_bytes(data)
        with pytest.raises(NodeError, match="was altered, or belongs to another identity"):
            seed_of(home)
    shutil.copy(other, home.parent / "moved.key")
    with pytest.raises(NodeError, match="is sealed and lies in no home"):
        files.read_private(home.parent / "moved.key")


# --- Where a passphrase comes from -----------------------------------------------------------------


def test_a_credential_of_systemd_comes_first(home: Path, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.protect(home)
    given.write_text("the wrong one, and long")
    folder = home.parent / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    forget()
    assert "does not open" in refusal(home)  # the folder has credentials of others only
    (folder / "hefed-passphrase").write_text(WORDS)
    (folder / "hefed-passphrase").chmod(0o440)  # as an access list for one user looks
    Identity.load(home)
    forget()
    for mode in (0o444, 0o460, 0o401):
        (folder / "hefed-passphrase").chmod(mode)
        assert "others than its owner may read it" in refusal(home)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_passphrase_that_others_may_read_is_refused(mode: int, home: Path, given: Path) -> None:
    keys.protect(home)
    forget()
    given.chmod(mode)
    assert refusal(home) == f"{given} holds a secret but others than its owner may read it; run: chmod 600 {given}"


@pytest.mark.parametrize("content", [WORDS, f"{WORDS}\n", f"{WORDS}\r\n", f"{WORDS[:-1]}o\u0308\n"])
def test_a_line_s_end_and_the_way_of_writing_a_letter_make_no_difference(content: str, home: Path, given: Path) -> None:
    keys.protect(home)
    forget()
    given.write_bytes(content.encode())
    Identity.load(home)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty or longer"), (b"\n", "is empty or longer"), (b"x" * 1025, "is empty or longer"),
     (b"\xff" * 20, "is not text in UTF-8"), (b"short", "at least 12 characters")],
)  # fmt: skip
def test_what_is_no_passphrase_for_a_home(content: bytes, said: str, home: Path, given: Path) -> None:
    given.write_bytes(content)
    with pytest.raises(NodeError, match=said):
        keys.protect(home)
    assert not wrapping.is_protected(home)


# --- Kills and disks ---------------------------------------------------------------------------------

REPLACE = """
import os, sys
from pathlib import Path
from hefed.node import files
left, folder = int(sys.argv[1]), sys.argv[2]

def hook(event, arguments):
    global left
    if event in ("open", "os.link", "os.rename", "os.remove", "os.utime") and str(arguments[0]).startswith(folder):
        left -= 1
        if left < 0:
            os._exit(9)

sys.addaudithook(hook)
files.replace_private(Path(folder) / "a.key", b"N" * 70)
"""


def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_nothing_that_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    old, new, seen, step = b"O" * 60, b"N" * 70, set(), 0
    while True:
        for path in folder.iterdir():
            path.unlink()
        files.write_private(folder / "a.key", old)
        held = (folder / "a.key").open("rb")  # what was there, under whatever name, or none
        ended = subprocess.run(
            [sys.executable, "-c", REPLACE, str(step), str(folder)], env=environment(), timeout=60, check=False
        )
        files.sweep(folder / "a.key")
        content = files.read_private(folder / "a.key")
        assert [path.name for path in folder.iterdir()] == ["a.key"]
        assert content in (old, new)
        with held:
            assert (held.read() == old) == (content == old), step
        seen.add(content)
        if ended.returncode == 0:
            break
        assert ended.returncode == 9
        step += 1
    assert content == new
    assert seen == {old, new}
    assert step > 8


def test_what_a_kill_left_undone_is_done_at_the_next_start(home: Path) -> None:
    secrets = secrets_of(home)
    put_under(home, WORDS.encode())  # and killed before the studies' keys
    assert set(search(home, secrets)) == {"study key"}
    assert seed_of(home) == SEED
    assert keys.look(home).studies == ((STUDY.hex(), False),)
    shutil.copy(key_file(home), key_file(home).with_suffix(".key.old"))
    shutil.copy(key_file(home), key_file(home).with_suffix(".key.new"))
    keys.settle(home)
    assert search(home, secrets) == {}
    assert [path.name for path in (home / store.KEYS).iterdir()] == [key_file(home).name]
    assert seed_of(home) == SEED


def test_what_a_kill_left_of_taking_the_passphrase_off_works_and_can_be_done_again(home: Path) -> None:
    secrets = secrets_of(home)
    keys.protect(home)
    files.replace_private(key_file(home), files.read_private(key_file(home)))  # and killed
    forget()
    Home(home)
    assert seed_of(home) == SEED
    keys.unprotect(home)
    assert secrets_of(home) == secrets


def test_a_disk_that_refuses_leaves_the_old_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.key"
    files.write_private(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NodeError, match="no space left on device"):
        files.replace_private(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.glob("a.key*")] == ["a.key"]


# --- Nothing is told -----------------------------------------------------------------------------------


def test_no_secret_is_pickled_or_shown(home: Path) -> None:
    identity = Home(home).identity
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(identity)
    assert repr(identity) == "Identity(...)"
    take = keys.look(home)
    assert not any(secret.hex() in repr(take) for secret in secrets_of(home).values())


def test_a_process_with_keys_in_memory_leaves_no_core_file(home: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from hefed.node.identity import Identity;"
        "Identity.load(Path(sys.argv[1])); print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "(0, 0)\n"
