"""What is said of a folder that somebody takes for a member's home and that is none."""

import os
from pathlib import Path
from shlex import quote

from hefed.node.federation import shown
from hefed.node.identity import FILE
from hefed.node.process import CONFIG


def is_simulated(folder: Path) -> bool:
    """Whether a folder is that of a party which `hefed simulate` made."""
    return os.path.exists(folder / CONFIG)


def why_no_home(folder: Path) -> str | None:
    """Why a folder is no home of a member, and what to do; None where it is one."""
    where = shown(folder)
    make = f"hefed init NAME --home {quote(where)}"
    if not os.path.exists(folder):
        return f"there is no folder {where}; check the name, or make a home there: {make}"
    if not os.path.isdir(folder):
        return f"{where} is a file, and a home is a folder; check the name"
    if not os.access(folder, os.X_OK):
        return f"{where} cannot be looked into; run hefed as the user whose it is"
    if is_simulated(folder):
        return (
            f"{where} is the folder of a party that hefed simulate made, whose keys end with its study, and no home of "
            f"a member; what left it: hefed log --home {quote(where)}"
        )
    if not os.path.exists(folder / FILE):
        return f"{where} is no home of a member; make one: {make}"
    return None
