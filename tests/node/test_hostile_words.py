"""Words of others on the analyst's terminal and in files: whatever they hold, no control character gets through."""

import io
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from hefed.node.analyst import Submission
from hefed.node.errors import StudyFailedError
from hefed.node.parties import Parties
from hefed.report.progress import Progress, Standing
from hefed.study import Study
from tests.node.runs import ROOT, environment, study_file

EVIL = "\x1b]0;taken\x07\x1b[31mSTUDY OK\x9b2J\r\nno error\u202e"
STANDING = Standing(EVIL, 1, EVIL, (EVIL,), (EVIL,), 5.0)

SHOW = f"""
from rich.console import Console
from hefed.report.progress import Progress, Standing
evil = {EVIL!r}
with Progress(Console(stderr=True, width=400)) as progress:
    progress.show(Standing(evil, 1, evil, (evil,), (evil,), 5.0))
    progress.note("the process has ended: " + evil)
"""


def _in_a_terminal(code: str) -> str:
    """What a program shows in a terminal."""
    ours, theirs = pty.openpty()
    environ = environment() | {"TERM": "xterm-256color", "COLUMNS": "400"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                shown += os.read(ours, 2**16)
            except OSError:  # Linux says so when the other end is closed
                break
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown.decode()


def test_progress_in_a_terminal_shows_the_words_and_obeys_none_of_them() -> None:
    assert str(ROOT) in environment()["PYTHONPATH"]
    shown = _in_a_terminal(SHOW)
    assert "STUDY OK" in shown
    assert not any(sign in shown for sign in ("\x1b]", "\x07", "\x1b[31m", "\x9b", "\u202e"))
    assert "\nno error" not in shown


def test_progress_in_a_file_is_plain_lines() -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=400)) as progress:
        progress.show(STANDING)
        progress.note(EVIL)
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() and "STUDY OK" in line for line in lines)


def test_the_last_words_of_a_party_are_printable(tmp_path: Path) -> None:
    with Parties(tmp_path / "parties", Study.load(study_file(tmp_path))) as parties:
        (tmp_path / "parties" / "halland" / "log.txt").write_bytes(b"a line\n\xff\x1b[2J\x1b]0;taken\x07the end\n")
        words = parties.last_words("halland")
    assert words.endswith("the end")
    assert words.isprintable()


def test_the_words_of_a_failed_study_are_printable() -> None:
    assert str(StudyFailedError(EVIL, refused=True)).isprintable()


@pytest.mark.parametrize("name", ["evil", "other"])
def test_coefficients_of_another_model_are_no_result(tmp_path: Path, name: str) -> None:
    from hefed.node.analyst import Finding
    from hefed.node.following import Watcher, document_of
    from hefed.protocol.board import Board

    names = [EVIL if name == "evil" else "weight", "age"]
    document = {
        "names": names, "estimate": [1.0, 1.0], "std_error": [1.0, 1.0], "log_likelihood": -1.0,
        "log_likelihood_null": -2.0, "iterations": 1, "converged": True, "n": 3, "events": 2,
    }  # fmt: skip
    study = Study.load(study_file(tmp_path))
    with Parties(tmp_path / "parties", study) as parties:
        submission = Submission(study, parties.roster, "analyst", 0)
        board = Board(parties.roster, submission.study)
        board.study = study
        watcher = Watcher(study, Progress(Console(file=io.StringIO())))
        with pytest.raises(StudyFailedError, match="coefficients of another model"):
            document_of(study, board, watcher, Finding("result", document, ()))
