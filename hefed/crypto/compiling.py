"""How the compiled code of hefed.crypto is compiled, and the types of what it works on.

Compiled on first use and cached beside the source; without the interpreter's lock, so that threads run side by side; no
fast-math, so that every machine gives the same bits. Of several processes that start at once, one compiles.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Exponents = NDArray[np.int16]


def compiled(function: Callable[..., Any], signature: str | None = None) -> Any:
    """The function, compiled by numba."""
    return numba.njit(signature, cache=True, nogil=True, error_model="numpy", boundscheck=False)(function)


PATIENCE = 45.0
"""Seconds to wait for another process that compiles: less than a simulation waits for its aggregator."""
_LOOK = 0.1


def one_at_a_time(compile_all: Callable[[], None], tell: Callable[[str], None], patience: float = PATIENCE) -> None:
    """Do what compiles all kernels. Where they are not cached yet, one process does, while others wait and then load
    what it has compiled; `tell` gets a sentence about that.

    A process that waited for too long, or that cannot lock, compiles by itself: nothing but time depends on it.
    """
    folder = cache_folder()
    done = folder / f"compiled-{_version()}"
    if done.exists():
        compile_all()
        return
    lock = _locked(folder / "compiling.lock", done, tell, patience)
    try:
        if done.exists():
            _release(lock)
            lock = None
            compile_all()
        else:
            compile_all()
            with suppress(OSError):  # then the next start looks again
                os.close(os.open(done, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    finally:
        _release(lock)


def cache_folder() -> Path:
    """Where numba keeps the compiled code. Raises RuntimeError where it has no place."""
    from hefed.crypto import kernels

    return Path(kernels.finish.stats.cache_path)


def _version() -> str:
    """Stands for all that numba's cache depends on: the source, numba, Python and the processor."""
    from numba.core.registry import cpu_target

    sources = sorted(Path(__file__).parent.glob("*.py"))
    stamps = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sources]
    target = cpu_target.target_context.codegen().magic_tuple()
    return sha256(repr((stamps, numba.__version__, sys.version, target)).encode()).hexdigest()[:16]


def _locked(path: Path, done: Path, tell: Callable[[str], None], patience: float) -> int | None:
    """The descriptor of the lock once it is ours; None once all is compiled, after too long, or where none can be."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return None
    end, told = time.monotonic() + patience, False
    while not done.exists():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                tell("another process compiles the kernels, once for this installation; waiting for it")
                told = True
            if time.monotonic() > end:
                tell("the other process has not compiled the kernels yet; compiling them here as well")
                break
            time.sleep(_LOOK)
        except OSError:
            break  # a file system without locks
        else:
            return lock
    os.close(lock)
    return None


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
