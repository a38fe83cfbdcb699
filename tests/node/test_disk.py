"""A disk that is full or can only be read: said in a sentence before anything is lost or sent, and work goes on once it
is mended. The refusals are the kernel's own.
"""

import functools
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from tests.node.runs import Run, cox_reference, environment, free_port, is_sum, study_file, wait_for

FULL = r"(disk I/O error|database or disk is full); free some space or mend the disk, then start again"


@functools.cache
def namespace() -> tuple[str, ...]:
    """How a program gets mounts of its own here; empty on a machine that grants none."""
    for way in (("unshare", "-m"), ("unshare", "-Urm")):
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return way
    return ()


def run_python(program: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> str:
    """What a program prints, in a process of its own."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program, *map(str, arguments)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


FILL = """
import os, sys
from pathlib import Path
from hefed.node.errors import NodeError
from hefed.node.store import Store

folder, study = Path(sys.argv[1]), b"s" * 32
store = Store(folder)
store.add_study(study)
store.commit()
try:
    for number in range(1000):
        store.remember(study, str(number), b"envelope", (os.urandom(20000),))
        store.commit()
        print("sent", number)
except NodeError as error:
    print(error)
try:
    store.commit()
    store.vault(study).get_or_create("seed", lambda: b"first" * 5)
    print("the secret is stored")
except NodeError as error:
    print(error)
"""
"""Stores messages as a node does before it sends them, until the disk refuses; then a secret all the same."""

LIMITED = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (150000, 150000))\n" + FILL


GO_ON = """
import sys
from pathlib import Path
from hefed.node.store import Store

store, study = Store(Path(sys.argv[1])), b"s" * 32
print("held", store.count_sent(study))
print("first" if store.vault(study).get_or_create("seed", lambda: b"second" * 5) == b"first" * 5 else "second")
store.remember(study, "after", b"envelope", (bytes(10**6),))
store.close()
"""
"""Opens the store on the mended disk."""


def assert_nothing_was_lost(said: str, later: str) -> None:
    """What was said to be stored is in the store, and nothing more."""
    *sent, refusal, secret = said.splitlines()
    assert sent == [f"sent {number}" for number in range(len(sent))]
    assert len(sent) > 1
    assert re.search(FULL, refusal), refusal
    assert secret == "the secret is stored" or "cannot be" in secret
    held, which = later.splitlines()
    assert held == f"held {len(sent)}"
    assert (which == "first") is (secret == "the secret is stored")


def test_a_file_that_may_not_grow_loses_nothing_that_was_said_to_be_stored(tmp_path: Path) -> None:
    said = run_python(LIMITED, tmp_path / "home")
    assert_nothing_was_lost(said, run_python(GO_ON, tmp_path / "home"))


def test_a_full_disk_loses_nothing_and_the_next_start_on_a_larger_one_goes_on(tmp_path: Path) -> None:
    if not namespace():  # the test above is then the nearest to it
        return
    script = (
        'mount -t tmpfs -o size=400k tmpfs "$1" && "$2" -c "$3" "$1/home" && echo == && '
        'mount -o remount,size=20m "$1" && "$2" -c "$4" "$1/home"'
    )
    done = subprocess.run(
        [*namespace(), "sh", "-c", script, "sh", str(tmp_path), sys.executable, FILL, GO_ON],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, _, later = done.stdout.partition("==\n")
    assert "database or disk is full" in said
    assert_nothing_was_lost(said, later)


OPEN = """
import sys
from pathlib import Path
from hefed.node.errors import NodeError
from hefed.node.files import destroy, lock_folder, write_private
from hefed.node.identity import Identity
from hefed.node.store import Store

folder = Path(sys.argv[1])
for attempt in (
    lambda: Store(folder / "home"),
    lambda: lock_folder(folder / "home"),
    lambda: write_private(folder / "home/new.key", b"secret"),
    lambda: Identity.create(folder / "home"),
    lambda: destroy(folder / "home/old.key"),
):
    try:
        attempt()
        print("it was done")
    except NodeError as error:
        print(error)
"""


def test_a_disk_that_can_only_be_read_is_said_at_each_thing_that_writes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Store(home).close()
    (home / "old.key").write_bytes(b"secret")
    before = {path: path.read_bytes() for path in home.iterdir()}
    if namespace():
        script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && "$2" -c "$3" "$1"'
        command = [*namespace(), "sh", "-c", script, "sh", str(tmp_path), sys.executable, OPEN]
        reason = "read-only file system"
    else:  # then at least whoever is not its owner, or its owner without the right to write
        home.chmod(0o500)
        command = [sys.executable, "-c", OPEN, str(tmp_path)]
        if os.getuid() == 0:
            command = ["setpriv", "--reuid", "65534", "--clear-groups", *command]
        reason = "permission denied|operation not permitted"
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    home.chmod(0o700)
    assert done.returncode == 0, done.stderr
    opened, locked, written, made, destroyed = done.stdout.splitlines()
    assert re.fullmatch(rf"{home} cannot be written to: ({reason}); mend the disk, or see whose the folder is", opened)
    assert re.fullmatch(rf"{home} cannot be written to: ({reason}); name another folder", locked)
    for words, name in ((written, "new.key"), (made, "identity.key")):
        assert re.fullmatch(
            rf"{home / name} cannot be written: ({reason}); free some space or mend the disk, then start again", words
        )
    assert re.fullmatch(rf"{home / 'old.key'} is due to be destroyed and cannot be: ({reason}); .*", destroyed)
    assert {path: path.read_bytes() for path in home.iterdir()} == before


class DiskIsFull:
    """In a round takes from a region the right to let any file grow, and starts it anew when it has stopped."""

    def __init__(self, name: str, round: int) -> None:
        self.name, self.round = name, round
        self.code, self.words = 0, ""
        self.sent: set[str] = set()

    def __call__(self, run: Run, board: Board, message: "m.Message | None") -> None:
        if not is_sum(message, self.round):
            return
        process = run.parties.processes[self.name]
        room = run.parties.log(self.name).stat().st_size + 2000  # for its last words
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        self.code = wait_for(process.poll, 30)
        self.words = run.parties.last_words(self.name)
        self.sent = set(run.sent(self.name))
        for region in run.study.members:  # nothing is anywhere that its sender has not stored
            relayed = [kept.envelope for kept in run.record("aggregator") if kept.sender == region]
            assert relayed == [stored.envelope for stored in run.sent(region).values()][: len(relayed)]
        run.parties.kill(self.name)
        run.parties.start(self.name)


@pytest.mark.parametrize("name", ["orebro", "aggregator"])
def test_a_study_goes_on_after_a_full_disk_was_mended(tmp_path: Path, name: str) -> None:
    full = DiskIsFull(name, 2)
    engine = 'engine = "vectorised"'  # the other one moves ciphertexts through files in memory, limited here as well
    with Run(study_file(tmp_path, security=engine), tmp_path / "parties", port=free_port()) as run:
        board = run.follow(full)
        assert full.code == 2
        assert re.search(rf"{name}/state\.sqlite cannot be used: {FULL}", full.words), full.words
        assert full.sent <= set(run.sent(name))
        run.assert_every_message_was_sent_once()
        run.assert_answer(board, cox_reference())
