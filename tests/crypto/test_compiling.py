"""Of several processes that start at once one compiles the kernels; the others wait, but never without end."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hefed.crypto import compiling
from hefed.crypto.compiling import one_at_a_time

SOME_KERNELS = """
from hefed.crypto import kernels, parameters, sampling
from hefed.crypto.compiling import one_at_a_time

def some():
    sampling.uniform_polynomials(parameters.COMPACT, bytes(32), 0, 1)

said = []
one_at_a_time(some, said.append)
stats = kernels.load_words.stats
print(sum(stats.cache_misses.values()), sum(stats.cache_hits.values()), *said, sep="|")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the folder of compiled kernels."""
    monkeypatch.setattr(compiling, "cache_folder", lambda: tmp_path)
    return tmp_path


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Somebody else compiles."""
    lock = os.open(folder / "compiling.lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield lock
    finally:
        os.close(lock)


def marks(folder: Path) -> list[Path]:
    return list(folder.glob("compiled-*"))


def started(cache: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.Popen([sys.executable, "-c", SOME_KERNELS], env=environment, stdout=subprocess.PIPE, text=True)


def test_of_three_processes_one_compiles(tmp_path: Path) -> None:
    processes = [started(tmp_path) for _ in range(3)]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in processes)
    assert [line.split("|")[:2] for line in said] == [["0", "1"], ["0", "1"], ["1", "0"]]
    assert said[2] == "1|0"  # who compiles waits for nobody
    assert started(tmp_path).communicate(timeout=120)[0].strip() == "0|1"  # and later nobody does


def test_who_waits_goes_on_when_all_is_compiled(folder: Path) -> None:
    said: list[str] = []
    compiled = threading.Event()
    with locked(folder):
        waiting = threading.Thread(target=one_at_a_time, args=(compiled.set, said.append))
        waiting.start()
        while not said:
            time.sleep(0.01)
        assert not compiled.is_set()
        (folder / f"compiled-{compiling._version()}").touch()
        waiting.join(10)  # while the lock is held still
        assert compiled.is_set()
    assert said == ["another process compiles the kernels, once for this installation; waiting for it"]


def test_the_next_one_compiles_when_who_did_was_killed(folder: Path) -> None:
    held = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(folder / "compiling.lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    threading.Timer(0.3, holder.kill).start()
    said: list[str] = []
    calls: list[int] = []
    one_at_a_time(lambda: calls.append(1), said.append)
    holder.communicate()
    assert calls == [1]
    assert len(said) == 1
    assert marks(folder)


def test_nobody_waits_without_end(folder: Path) -> None:
    said: list[str] = []
    calls: list[int] = []
    begun = time.monotonic()
    with locked(folder):
        one_at_a_time(lambda: calls.append(1), said.append, patience=0.3)
    assert 0.3 < time.monotonic() - begun < 10
    assert calls == [1]
    assert said[1:] == ["the other process has not compiled the kernels yet; compiling them here as well"]


def test_nobody_waits_once_all_is_compiled(folder: Path) -> None:
    calls: list[int] = []
    one_at_a_time(lambda: calls.append(1), pytest.fail)
    assert [path.name for path in marks(folder)] == [f"compiled-{compiling._version()}"]
    with locked(folder):
        one_at_a_time(lambda: calls.append(2), pytest.fail)
    assert calls == [1, 2]


def test_a_folder_that_cannot_be_locked_costs_only_time(folder: Path) -> None:
    (folder / "compiling.lock").symlink_to(folder / "elsewhere")
    calls: list[int] = []
    one_at_a_time(lambda: calls.append(1), pytest.fail)
    assert calls == [1]
    assert not (folder / "elsewhere").exists()


def test_where_files_cannot_be_locked_each_compiles_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks; the descriptor is given back."""

    def without_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    before = sorted(os.listdir("/proc/self/fd"))
    calls: list[int] = []
    one_at_a_time(lambda: calls.append(1), pytest.fail)
    assert calls == [1]
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert marks(folder)


def test_the_mark_and_the_lock_lie_beside_the_compiled_kernels() -> None:
    from hefed.crypto import kernels

    folder = compiling.cache_folder()
    kernels.multiply(np.zeros((8, 8)), np.zeros(8), np.zeros(8), 17.0)
    assert list(folder.glob("kernels.multiply-*.nbi"))
    assert "NUMBA_CACHE_DIR" in os.environ or folder == Path(compiling.__file__).parent / "__pycache__"


def test_what_failed_is_not_taken_for_compiled(folder: Path) -> None:
    def failing() -> None:
        raise ValueError("the engines differ")

    for _ in range(2):
        with pytest.raises(ValueError, match="the engines differ"):
            one_at_a_time(failing, pytest.fail)
    assert marks(folder) == []


def test_another_source_is_compiled_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiling._version()
    assert compiling._version() == before
    monkeypatch.setattr(compiling.numba, "__version__", "another")
    assert compiling._version() != before


def test_what_stands_in_the_place_of_the_lock_or_the_mark_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "compiling.lock")
    mark = folder / f"compiled-{compiling._version()}"
    mark.symlink_to(folder / "elsewhere")
    calls: list[int] = []
    one_at_a_time(lambda: calls.append(1), print, patience=0.3)
    assert calls == [1]
    assert not (folder / "elsewhere").exists()
