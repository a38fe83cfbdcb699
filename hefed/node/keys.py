"""The keys of a home on disk: put under a passphrase, taken off it, and looked at.

The identity's file says whether a home is protected, and every study's key file follows it: a kill in between leaves a
home that works, and `settle` ends what was begun. Relies on `identity` and `files` for writing. The home is taken for
this process alone while anything is written.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from hefed.node.errors import NodeError
from hefed.node.files import COMMANDS, lock_folder, read_private, replace_private, sweep
from hefed.node.home import Home
from hefed.node.identity import FILE, put_under, take_off
from hefed.node.passphrase import new_passphrase, other_passphrase
from hefed.node.wrapping import NEXT, SEALED, STUDY_KEYS, is_protected, sealed
from hefed.protocol.ending import day, warning

PATIENCE = 2.0


@dataclass(frozen=True)
class Keys:
    """What `hefed keys show` says of a home."""

    name: str
    fingerprint: str
    made: datetime
    """Of the identity's file, in local time."""
    protected: bool
    ends: date | None
    """The last day of the identity, None for one without an end."""
    warning: str | None
    """What is to be said of a near end."""
    studies: tuple[tuple[str, bool], ...]
    """For each study whose keys are there: its hash, and whether its key file is sealed."""


def look(folder: Path) -> Keys:
    """The keys of a home. Raises NodeError, RosterError."""
    home = Home(folder)
    card = home.card()
    made = datetime.fromtimestamp((folder / FILE).stat().st_mtime).astimezone()
    studies = []
    for path in _study_keys(folder):
        with suppress(FileNotFoundError):  # its study has just ended
            studies.append((path.stem, _is_sealed(path)))
    warned = warning(card.name, card.ends, day(time.time()))
    return Keys(card.name, card.fingerprint, made, is_protected(folder), card.ends, warned, tuple(studies))


def protect(folder: Path, *, change: bool = False) -> int:
    """Puts all keys of a home under a passphrase, or with `change` under another one than before; a home that is
    protected already is only made whole. Returns the number of studies' keys. Raises NodeError.
    """
    with _alone(folder):
        if change and not is_protected(folder):
            raise NodeError(f"{folder} is not under a passphrase yet; leave out --change")
        if change:
            put_under(folder, other_passphrase(folder))
        elif not is_protected(folder):
            put_under(folder, new_passphrase(folder))
        settle(folder)
        return len(_study_keys(folder))


def unprotect(folder: Path) -> int:
    """Takes the passphrase off. Returns the number of studies' keys. Raises NodeError."""
    with _alone(folder):
        if not is_protected(folder):
            raise NodeError(f"{folder} is not under a passphrase, so there is none to remove")
        for path in _wrapped(folder):
            replace_private(path, read_private(path))
        take_off(folder)  # last, as it holds the key to the others
        return len(_study_keys(folder))


def settle(folder: Path) -> None:
    """Destroys what a kill left beside the keys, and seals those that are not yet in a protected home. For who has the
    home alone, both its locks, and has opened it. Raises NodeError.
    """
    for path in (folder / FILE, folder / NEXT, *_study_keys(folder)):
        sweep(path)
    if is_protected(folder):
        for path in _wrapped(folder):
            if not _is_sealed(path):
                replace_private(path, sealed(path, read_private(path)))


def _study_keys(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / STUDY_KEYS).glob("*.key")) if re.fullmatch("[0-9a-f]{64}", path.stem)]


def _wrapped(folder: Path) -> list[Path]:
    return [*_study_keys(folder), *(path for path in (folder / NEXT,) if path.exists())]


def _is_sealed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SEALED)) == SEALED


def settle_at_start(folder: Path) -> None:
    """The same for a process that has the home already. Raises NodeError."""
    lock = lock_folder(folder, PATIENCE, COMMANDS)
    try:
        settle(folder)
    finally:
        os.close(lock)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    Home(folder)  # asks for the passphrase of a home that has one, before anybody has to wait
    locks = [lock_folder(folder, PATIENCE)]
    try:
        locks.append(lock_folder(folder, PATIENCE, COMMANDS))
        settle(folder)
        yield
    finally:
        for lock in locks:
            os.close(lock)
