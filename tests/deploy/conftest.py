"""What the tests of installations share: a wheelhouse, and a machine on which hefed is installed from it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import Machine, lacking

ROOT = Path(__file__).parents[2]


def commands(text: str, mark: str) -> list[str]:
    """The commands that a text gives: its lines that begin with `mark`, three more spaces at least, and no further."""
    return re.findall(rf"^{re.escape(mark)} {{2,3}}(\S.*)$", text, re.MULTILINE)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made as `make wheelhouse` makes it."""
    folder = tmp_path_factory.mktemp("made") / "wheelhouse"
    done = subprocess.run(
        [sys.executable, "examples/deployment/wheelhouse.py", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ wheels; .* MiB, SHA-256 [0-9a-f]{64}\n$", done.stdout)
    return folder


@pytest.fixture(scope="session")
def machine(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine without a network, on which hefed has been installed by the commands of INSTALL.txt."""
    lack = lacking()
    if lack:
        pytest.skip(f"no machine of its own: {lack}")
    folder = tmp_path_factory.mktemp("machine")
    with Machine(folder, shows=(wheelhouse.parent, ROOT / "examples")) as machine:
        for command in commands((wheelhouse / "INSTALL.txt").read_text(), ""):
            machine.run(command, folder=machine.place(wheelhouse), seconds=300)
        yield machine
