"""What of a home to keep safe, what never to keep nor to put back, and the file that holds exactly the former.

Relies on `home` for what lies where. Must not read, copy or name as worth keeping the state and the keys of studies: a
state that is put back would encrypt or answer a second time under a label that was used.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hefed.node import database, decision, schema, settings, store
from hefed.node.errors import NodeError
from hefed.node.files import COMMANDS, LOCK, read_private, write_private
from hefed.node.home import ROSTERS, Home
from hefed.node.identity import FILE as IDENTITY
from hefed.node.process import ROSTER

MAX_FILE = 2**22
"""Bytes of one file to be saved; hefed makes none that is larger."""


@dataclass(frozen=True)
class Item:
    """A file or a folder of a home: whether to keep it, how many files it is, and why."""

    name: str
    keep: bool
    files: tuple[Path, ...]
    why: str


def describe(home: Home) -> tuple[Item, ...]:
    """All that a home may hold, what to keep first."""
    folder = home.folder
    return tuple(
        Item(name, keep, tuple(path for pattern in patterns for path in _plain_files(folder, pattern)), why)
        for name, keep, patterns, why in (
            (IDENTITY, True, (IDENTITY,),
             "this member's keys. Lost: it makes a new identity, and all members sign a new roster with it. In "
             "others' hands: they pose as this member, so have it taken off the roster"),
            ("*.card", True, ("*.card",),
             "name and public keys. Lost: hefed init NAME with the same --home writes the own one again"),
            (f"{ROSTERS}/", True, (f"{ROSTERS}/*.roster",),
             "the rosters that this member signed. Lost: nothing here keeps it from signing another one of the same "
             "version"),
            (ROSTER, True, (ROSTER,),
             "the roster in force. Lost: no node starts until hefed federation join with the newest one"),
            (settings.FILE, True, (settings.FILE,),
             "where the table lies, and the policy. Lost: write it again"),
            (f"{decision.FOLDER}/", True, (f"{decision.FOLDER}/*",),
             "signed approvals and refusals. Lost: no proof of what this region's people decided"),
            (f"{store.KEYS}/", False, (f"{store.KEYS}/*",),
             "the keys of the studies that run. They are destroyed at a study's end, and everybody relies on that: a "
             "copy would let what was sent be opened later"),
            (database.FILE, False, (database.FILE, f"{database.FILE}-*", f"{database.FILE}{schema.COPY}*"),
             "what was received and sent. An old one that is put back would encrypt or answer a second time under a "
             "label that was used, which can lay patients' numbers open. For the record keep the output of hefed log "
             "--json instead"),
            ("status.json, locks", False, ("status.json", LOCK, COMMANDS),
             "of the process that runs; made at each start"),
        )
    )  # fmt: skip


def _plain_files(folder: Path, pattern: str) -> Iterator[Path]:
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".partial"):
            yield path


def write(home: Path, items: tuple[Item, ...], to: Path) -> None:
    """Writes a new tar file, for its owner only and flushed, with the files to keep. Raises NodeError."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in (path for item in items if item.keep for path in item.files):
            data = _read(path)
            info = tarfile.TarInfo(str(path.relative_to(home)))
            info.size, info.mode, info.mtime = len(data), 0o600, path.stat().st_mtime
            tar.addfile(info, io.BytesIO(data))
    try:
        write_private(to, buffer.getvalue())
    except FileExistsError:
        raise NodeError(f"{to} is there already and is not written over; name another file") from None


def _read(path: Path) -> bytes:
    if path.name == IDENTITY:
        return read_private(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise NodeError(f"{path} cannot be read: {error.strerror}; look at whose the file is") from error
    if len(data) > MAX_FILE:
        raise NodeError(f"{path} is larger than any file of a home; move it away")
    return data
