"""Owner-only files, written whole or not at all, and destroyed by overwriting. Secrets touch the disk through here and
`store` only.
"""

import fcntl
import os
import secrets
from pathlib import Path

from hefed.node.errors import NodeError


def make_private_folder(path: Path) -> None:
    """A folder that only its owner can enter."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Writes a new owner-only file and flushes it to disk with its folder. Raises FileExistsError when there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _flush_folder(path.parent)


def read_private(path: Path) -> bytes:
    """Reads an owner-only file. Raises NodeError when others may read it too."""
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise NodeError(f"{path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise NodeError(f"{path} holds a secret but others than its owner may read it; run: chmod 600 {path}")
    return data


def destroy(path: Path) -> None:
    """Overwrites a file with random bytes, flushes, and removes it. Nothing happens when there is none.

    On a copy-on-write file system or a worn flash cell an old copy can survive below; SECURITY.md says so.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, secrets.token_bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_folder(path: Path) -> int:
    """Takes a folder for this process alone, until it ends. Raises NodeError when another process has it."""
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise NodeError(f"{path} is in use by another hefed process; stop that one first") from error
    return descriptor
