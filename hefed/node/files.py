"""Owner-only files, written whole or not at all, and destroyed by overwriting. Secrets touch the disk through here and
`store` only. The key file of a study in a protected home is sealed and opened on the way, by `wrapping`.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hefed.node.errors import NodeError
from hefed.node.wrapping import sealed, unsealed

LOCK, COMMANDS = "lock", "commands.lock"
"""What the process of a folder holds, and what a command beside it holds while it writes."""

PARTIAL = ".partial"
"""Ends the name of a file that is being written."""


def make_private_folder(path: Path) -> None:
    """A folder that only its owner can enter. Raises NodeError when there can be none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        if path.is_dir():
            raise NodeError(
                f"{path} cannot be written to: {_reason(error)}; mend the disk, or see whose the folder is"
            ) from error
        raise NodeError(f"there can be no folder {path}: {_reason(error)}; name another") from error


def write_private(path: Path, data: bytes) -> None:
    """Writes a new owner-only file and flushes it to disk with its folder. Raises FileExistsError when there is one,
    NodeError when the disk refuses; there is then no such file.
    """
    _write_new(path, sealed(path, data))


def _write_new(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + PARTIAL)  # a kill in the middle leaves no half of a key under the real name
    try:
        partial.unlink(missing_ok=True)
        try:
            with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, path)  # unlike a rename it never replaces a file
        finally:
            partial.unlink(missing_ok=True)
        flush_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def new_file(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A new file, for its owner only if it is to be, that is there, flushed, once all has been written, and not at all
    otherwise. Raises NodeError when there is one already or the disk refuses.
    """
    partial = path.with_name(path.name + PARTIAL)
    flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 if private else 0o644
    try:
        partial.unlink(missing_ok=True)
        with open(os.open(partial, flags, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike a rename it never replaces a file
        flush_folder(path.parent)
    except FileExistsError:
        raise NodeError(f"{path} is there already; name another file") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


RESTORE = "restore it from its backup"


def read_private(path: Path, *, most: int = -1, others: int = 0o077, remedy: str = RESTORE) -> bytes:
    """The secret in an owner-only file, also where it is sealed under the key of its home. Raises as `read_owned`, and
    when it cannot be opened.
    """
    return unsealed(path, read_owned(path, most=most, others=others, remedy=remedy))


def read_owned(path: Path, *, most: int = -1, others: int = 0o077, remedy: str = RESTORE) -> bytes:
    """Reads an owner-only file, and of a long one `most` bytes and one more. Raises NodeError when others may read it
    too, which the bits of its mode in `others` say; and, with what to do in `remedy`, when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(most + 1 if most >= 0 else -1)
    except OSError as error:
        raise NodeError(f"{path} cannot be read: {_reason(error)}; {remedy}") from error
    if mode & others:
        raise NodeError(f"{path} holds a secret but others than its owner may read it; run: chmod 600 {path}")
    return data


def replace_private(path: Path, data: bytes, like: Path | None = None) -> None:
    """Puts other content as it is in the place of an owner-only file, with its time or that of `like` on it, and
    destroys the old content. A kill leaves the one or the other, and what `sweep` destroys. Raises NodeError when the
    disk refuses.
    """
    new, old = _beside(path)
    sweep(path)
    _write_new(new, data)
    try:
        at = (like or path).stat()
        os.utime(new, ns=(at.st_atime_ns, at.st_mtime_ns))
        os.link(path, old)
        new.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    destroy(old)


def sweep(path: Path) -> None:
    """Destroys what a kill left of `replace_private`. Raises NodeError when the disk refuses."""
    new, old = _beside(path)
    destroy(new.with_name(new.name + PARTIAL))
    destroy(new)
    if old.exists() and path.exists() and old.samefile(path):
        old.unlink()  # a second name of the file itself, which had not been replaced yet
    else:
        destroy(old)


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + ".new"), path.with_name(path.name + ".old")


def destroy(path: Path) -> None:
    """Overwrites a file with random bytes, flushes, and removes it. Nothing happens when there is none. Raises
    NodeError when the disk refuses; the file is then there still, to be destroyed later.

    On a copy-on-write file system or a worn flash cell an old copy can survive below; SECURITY.md says so.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.write(descriptor, secrets.token_bytes(os.fstat(descriptor).st_size))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
        flush_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NodeError(
            f"{path} is due to be destroyed and cannot be: {_reason(error)}; mend the disk, then start again"
        ) from error


def flush_folder(path: Path) -> None:
    """Makes names that were given or taken in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_folder(path: Path, patience: float = 0.0, name: str = LOCK) -> int:
    """Takes a folder for this process alone, until it ends or closes the descriptor that is returned.

    Raises NodeError when another process still has it after `patience` seconds.
    """
    until = time.monotonic() + patience
    try:
        descriptor = os.open(path / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NodeError(f"{path} cannot be written to: {_reason(error)}; name another folder") from error
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            os.close(descriptor)
            raise NodeError(f"{path} is in use by another hefed process; stop that one first") from error
        except OSError as error:
            os.close(descriptor)
            raise NodeError(f"{path} cannot be taken for one process: {_reason(error)}; name another folder") from error
        return descriptor


def _unwritable(path: Path, error: OSError) -> NodeError:
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not path.parent.is_dir():
        return NodeError(f"{path} cannot be written: there is no folder {path.parent}; make it, or name another file")
    return NodeError(f"{path} cannot be written: {_reason(error)}; free some space or mend the disk, then start again")


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
