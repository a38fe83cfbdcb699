"""A party of a simulation as a process of its own: what it reads in its folder is bounded, and told when it is bad."""

import subprocess
import sys
from pathlib import Path

import pytest

from hefed.node.identity import Identity
from hefed.node.process import ROSTER, ProcessConfig
from tests.node.runs import environment

TERABYTE = 2**40


def party(folder: Path) -> Path:
    folder.mkdir()
    Identity.create(folder)
    ProcessConfig(
        role="aggregator", name="aggregator", endpoint="127.0.0.1:0", endpoint_file=str(folder / "endpoint"),
        table=None, leave_nothing=False,
    ).write(folder)  # fmt: skip
    return folder


def run(folder: Path) -> tuple[int, str]:
    """To its end; with little memory, so that reading a long file whole would end in another error."""
    program = "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
    program += "runpy.run_module('hefed.node.process', run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], env=environment(), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("size", [1, 2**20, TERABYTE], ids=["short", "a megabyte", "a terabyte"])
def test_a_roster_that_is_none_ends_it_in_words_however_long_it_is(size: int, tmp_path: Path) -> None:
    folder = party(tmp_path / "party")
    with (folder / ROSTER).open("wb") as file:
        file.truncate(size)
    code, said = run(folder)
    assert code == 2
    assert f"{folder / ROSTER} cannot be used: " in said
    assert "Traceback" not in said
