"""A member's folder, tried before a start: whose it is, whether it can be written, its state, and room on the disk.

It writes one small file and removes it, and reads the state without writing to it, so it disturbs no running process.
"""

import os
import pwd
import shutil
import socket
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from hefed.node import schema
from hefed.node.absent import why_no_home
from hefed.node.database import FILE
from hefed.node.errors import NodeError
from hefed.node.federation import shown
from hefed.node.finding import Finding, not_tried, note, works, wrong
from hefed.node.status import is_running, read_status
from hefed.wording import counted

LEAST_FREE = 2**30
"""Bytes. A region keeps what it sends and gets until a study has ended: 40 rounds, the most that a policy grants unless
it says otherwise, of a million numbers, each round 2 x 11.6 MB in the profile `precise`, are 0.93 GB.
"""
LEAST_FILES = 1000
_MIB, _GIB = 2**20, 2**30


def home_finding(folder: Path) -> Finding:
    """Whether there is such a folder, of the user who runs this with all that is in it, and closed to all others."""
    where = shown(folder)
    try:
        mode = folder.stat()
        if not folder.is_dir():
            raise NotADirectoryError
        owned = {where: mode.st_uid} | {shown(path): path.lstat().st_uid for path in sorted(folder.iterdir())}
    except (FileNotFoundError, NotADirectoryError):
        return wrong("home", why_no_home(folder) or f"there is no folder {where}; check the name")
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        return wrong("home", f"{where} cannot be looked into: {reason}; run hefed as the user whose it is")
    me = os.geteuid()
    others = [path for path, owner in owned.items() if owner != me]
    if others:
        path, owner = others[0], _user(owned[others[0]])
        return wrong(
            "home",
            f"{path} belongs to {owner}, and this is {_user(me)}; run hefed as {owner}, or give the whole folder to "
            f"one user: chown -R USER {where}",
        )
    if mode.st_mode & 0o077:
        return wrong("home", f"others than its owner can enter {where}; run: chmod 700 {where}")
    return works("home", f"{where}, for its owner only")


def can_look(folder: Path) -> bool:
    """Whether there is a folder whose files this user can look for."""
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def process_finding(folder: Path, roster: int | None) -> Finding:
    """Whether a process runs in the home already, which is no fault; `roster` is the version in force there now."""
    if is_running(folder):
        with suppress(NodeError):
            version = read_status(folder).standing.get("roster")
            if roster is not None and isinstance(version, int) and version != roster:
                return wrong(
                    "process",
                    f"one runs in this home with version {version} of the roster, and version {roster} is in force "
                    "now; restart it",
                )
        return note("process", "one runs in this home already; another cannot be started beside it")
    return works("process", "none runs in this home yet")


def state_findings(folder: Path) -> list[Finding]:
    """Whether the folder can be written to, the state read, and how much room there is."""
    folder_row = writable_finding(folder)
    state = state_finding(folder) if folder_row.ok else not_tried("state", "folder")
    return [folder_row, state, disk_finding(folder)]


def writable_finding(folder: Path) -> Finding:
    """Writes a small file, flushes it, and removes it."""
    path = folder / f".check-{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        return wrong(
            "folder", f"{shown(folder)} cannot be written to: {reason}; mend the disk, or see whose the folder is"
        )
    return works("folder", "can be written to and flushed")


def state_finding(folder: Path) -> Finding:
    """Whether the state, if there is one yet, is one that this version can go on with."""
    path = folder / FILE
    if not path.exists():
        return works("state", f"no {FILE} yet; the first start makes it")
    if path.stat().st_mode & 0o077:
        return wrong("state", f"others than its owner can read {shown(path)}; run: chmod 600 {shown(path)}")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            (form,) = db.execute("PRAGMA user_version").fetchone()
            if form > schema.VERSION:
                return wrong("state", schema.newer(path, form))
            if form < schema.VERSION:
                return _older(path, form, empty=db.execute("SELECT 1 FROM sqlite_master").fetchone() is None)
            (running,) = db.execute("SELECT count(*) FROM study WHERE ended_at IS NULL").fetchone()
    except sqlite3.Error as error:
        return wrong("state", f"{shown(path)} cannot be read: {error}; look at the disk and the file's owner")
    studies = f"{running} {'study runs' if running == 1 else 'studies run'}"
    return works("state", f"{FILE}: {_size(path.stat().st_size)}; {studies}")


def _older(path: Path, form: int, *, empty: bool) -> Finding:
    if form == 0 and not empty:
        return wrong("state", f"{shown(path)} is a database, but not one of hefed; move it away")
    return works("state", f"{FILE} is of form {form}; the start brings it to form {schema.VERSION}, on a copy")


def disk_finding(folder: Path, least: int = LEAST_FREE) -> Finding:
    """Whether there is room for the largest study that is usual."""
    try:
        free, files = shutil.disk_usage(folder).free, os.statvfs(folder)
    except OSError as error:
        return wrong("disk", f"{shown(folder)} cannot be looked at: {(error.strerror or '').lower()}; mend the disk")
    with suppress(OSError):
        least += _copy_of_older_state(folder / FILE)
    if free < least:
        return wrong(
            "disk",
            f"the disk of {shown(folder)} has {_size(free)} free, and should have {_size(least)}: what is sent and "
            "received in a study is kept until it has ended; make room",
        )
    if files.f_files and files.f_favail < LEAST_FILES:
        return wrong(
            "disk",
            f"the disk of {shown(folder)} has place for {counted(files.f_favail, 'file')} more, and should have for "
            f"{LEAST_FILES}; remove some",
        )
    return works("disk", f"{_size(free)} free")


def _copy_of_older_state(path: Path) -> int:
    """Bytes that bringing up an older state takes beside it."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        if 0 < db.execute("PRAGMA user_version").fetchone()[0] < schema.VERSION:
            return path.stat().st_size
    return 0


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"


def metrics_finding(port: int, *, running: bool) -> Finding:
    """Whether the port for Prometheus is free."""
    if running:
        return note("metrics", f"port {port}, which the running process has")
    try:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        return wrong(
            "metrics",
            f"port {port} of 127.0.0.1 cannot be opened for Prometheus: {reason}; name another one in [operation] "
            "metrics_port",
        )
    return works("metrics", f"port {port} of 127.0.0.1 is free")
