"""The standing of a running process, for the people beside it: a file in its home, written whenever something changes.

It holds no secret and nothing about patients. A reader learns from the home's lock whether the process still runs.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hefed.node.absent import why_no_home
from hefed.node.errors import NodeError
from hefed.node.files import LOCK
from hefed.node.logs import BoundedLog

FILE = "status.json"
MAX_BYTES = 1 << 24


class StatusFile:
    """Writes the standing whole or not at all, but does not flush it: after a restart what it says is old anyhow."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self.latest: dict[str, Any] = {}
        self._trouble = ""
        self._lines = BoundedLog(logging.getLogger(__name__), "the disk")

    def __call__(self, standing: Mapping[str, Any]) -> None:
        """Takes the newest standing. That it cannot be written is logged when the reason changes, and tried again with
        the next: no study depends on it.
        """
        if standing == self.latest and not self._trouble:
            return
        self.latest = dict(standing)
        partial = self._path.with_name(FILE + ".partial")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({**self.latest, "written": time.time()}, file)
            partial.replace(self._path)
            self._trouble = ""
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            if reason != self._trouble:
                self._trouble = reason
                self._lines.log(logging.WARNING, f"{self._path} cannot be written: {reason}; make room or give access")


@dataclass(frozen=True)
class Status:
    """What was written last, and whether the process that wrote it still runs."""

    running: bool
    standing: dict[str, Any]


def read_status(home: Path) -> Status:
    """The standing of a home. Raises NodeError when none was ever written."""
    path = home / FILE
    try:
        with path.open("rb") as file:
            standing = json.loads(file.read(MAX_BYTES))
        if not isinstance(standing, dict):
            raise ValueError("it holds no standing")
    except (FileNotFoundError, NotADirectoryError):
        if words := why_no_home(home):
            raise NodeError(words) from None
        raise NodeError(
            f"no process has run in {home} yet: hefed node of a region, or hefed aggregator; an analyst has none, and "
            "follows a study with hefed submit"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise NodeError(
            f"{path} cannot be read ({error}); remove it, and the running process writes it again"
        ) from error
    return Status(is_running(home), standing)


def is_running(home: Path) -> bool:
    """Whether a process has the home for itself."""
    try:
        descriptor = os.open(home / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
