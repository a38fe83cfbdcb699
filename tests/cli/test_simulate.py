"""`hefed simulate` as a person meets it: what it says while it runs, when it cannot, and when there is no answer."""

import hashlib
import os
import pty
import re
import select
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from hefed.cli.app import program
from hefed.cli.study import next_commands
from tests.node.runs import (
    COX,
    LOGISTIC,
    REGIONS,
    command,
    environment,
    free_port,
    hefed,
    processes_of,
    secret_files,
    study_file,
)


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, by name, with the hash of what is in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Path]:
    """A folder with a study and what an earlier run left; whatever a test does must leave all of it as it is."""
    study_file(tmp_path)
    party = tmp_path / "out/parties/halland"
    party.mkdir(parents=True)
    (party.parent / "lock").touch()
    (party / "state.sqlite").write_bytes(b"an earlier run's")
    (tmp_path / "out/result.json").write_text('{"study": "an earlier result"}')
    yield tmp_path
    assert processes_of(tmp_path) == {}


def _remove_table(folder: Path) -> None:
    (folder / "halland.csv").unlink()


def _rename_column(folder: Path) -> None:
    table = folder / "halland.csv"
    table.write_text(table.read_text().replace("serum_sodium", "sodium"))


def _text_in_a_number(folder: Path) -> None:
    table = folder / "halland.csv"
    table.write_text(table.read_text().replace("1.9,130", "high,130", 1))


def _threshold(folder: Path) -> None:
    study = folder / "study.toml"
    study.write_text(study.read_text().replace("threshold = 2", "threshold = 4"))


BEFORE_ANYTHING_STARTS: list[tuple[Callable[[Path], None], str]] = [
    (_remove_table, "region halland: there is no file halland.csv where it should be; check the path"),
    (_rename_column, "region halland: column 'serum_sodium' is missing in halland.csv; did you mean 'sodium'?"),
    (
        _text_in_a_number,
        "region halland: halland.csv column 'serum_creatinine' has something other than a number in line 2; "
        "mend it there",
    ),
    (_threshold, "{study}: [security] threshold is 4 of only 3 keyholders; lower it or add keyholders"),
]


@pytest.mark.parametrize(("spoil", "sentence"), BEFORE_ANYTHING_STARTS)
def test_bad_input_touches_nothing_that_is_there(earlier: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(earlier)
    before = contents(earlier)
    ended = hefed("simulate", earlier / "study.toml", "--out", earlier / "out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"hefed: {sentence.format(study=earlier / 'study.toml')}\n"
    assert contents(earlier) == before


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    (tmp_path / "out/parties").mkdir(parents=True)
    (tmp_path / "out/parties/lock").touch()  # as after an earlier run
    (tmp_path / "out/result.json").write_text("an earlier result")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = hefed("simulate", study, "--out", tmp_path / "out", "--port", str(port))
    assert (ended.code, ended.out) == (2, "")
    *progress, sentence = ended.err.splitlines()
    assert sentence.startswith(f"hefed: the aggregator has stopped: cannot listen on 127.0.0.1:{port}: ")
    assert sentence.endswith("choose an address of this machine and a free port, or stop what uses it")
    assert "Traceback" not in ended.err
    assert len(progress) <= 1
    assert processes_of(tmp_path) == {}
    assert secret_files(tmp_path) == []
    assert (tmp_path / "out/result.json").read_text() == "an earlier result"


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    mine = tmp_path / "out/parties"
    mine.mkdir(parents=True)
    (mine / "guests.txt").write_text("who comes to my party")
    ended = hefed("simulate", study, "--out", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"hefed: {mine} holds something that hefed did not put there; name another folder\n"
    assert (mine / "guests.txt").read_text() == "who comes to my party"
    assert [path.name for path in mine.iterdir()] == ["guests.txt"]


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path: Path) -> None:
    study = study_file(tmp_path)
    (tmp_path / "out").write_text("a file")
    ended = hefed("simulate", study, "--out", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"hefed: there can be no folder {tmp_path / 'out/parties'}: not a directory; name another\n"
    assert (tmp_path / "out").read_text() == "a file"


# --- Models without an answer ----------------------------------------------------------------------


def _constant(table: pd.DataFrame) -> None:
    table["anaemia"] = 1


def _collinear(table: pd.DataFrame) -> None:
    table["high_blood_pressure"] = 1 - table["anaemia"]


def _separated(table: pd.DataFrame) -> None:
    table["anaemia"] = table["DEATH_EVENT"]


def _few_events(table: pd.DataFrame) -> None:
    table["DEATH_EVENT"] = [1] + [0] * (len(table) - 1)


WITHOUT_AN_ANSWER: list[tuple[str, Callable[[pd.DataFrame], None], list[str]]] = [
    (COX, _constant, ["'anaemia' is constant"]),
    (COX, _collinear, ["collinear", "'anaemia'", "'high_blood_pressure'"]),
    (LOGISTIC, _separated, ["'anaemia'", "separates"]),
]


@pytest.mark.parametrize(("example", "spoil", "words"), WITHOUT_AN_ANSWER)
def test_a_model_without_an_answer_ends_with_the_cause_and_the_columns(
    tmp_path: Path, example: str, spoil: Callable[[pd.DataFrame], None], words: list[str]
) -> None:
    study = study_file(tmp_path, example)
    for region in REGIONS:
        table = pd.read_csv(tmp_path / f"{region}.csv")
        spoil(table)
        table.to_csv(tmp_path / f"{region}.csv", index=False)
    ended = hefed("simulate", study, "--out", tmp_path / "out")
    assert (ended.code, ended.out) == (1, "")
    *_, sentence = ended.err.splitlines()
    assert sentence.startswith("hefed: ")
    assert all(word in sentence for word in words), sentence
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out/result.json").exists()
    assert processes_of(tmp_path) == {}
    assert secret_files(tmp_path) == []


def test_a_region_with_too_few_events_refuses_before_the_first_round_and_does_not_say_how_many(tmp_path: Path) -> None:
    study = study_file(tmp_path, COX)
    table = pd.read_csv(tmp_path / "orebro.csv")
    _few_events(table)
    table.to_csv(tmp_path / "orebro.csv", index=False)
    ended = hefed("simulate", study, "--out", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    *_, sentence = ended.err.splitlines()
    assert "region orebro: this region has fewer than the 5 events" in sentence
    assert "min_events" in sentence
    assert processes_of(tmp_path) == {}
    assert secret_files(tmp_path) == []


def test_an_old_answer_does_not_pass_for_that_of_a_study_that_failed_and_a_foreign_file_is_kept(tmp_path: Path) -> None:
    study, out = study_file(tmp_path, COX), tmp_path / "out"
    out.mkdir()
    (out / "result.json").write_text("mine")
    refused = hefed("simulate", study, "--out", out)
    assert (refused.code, (out / "result.json").read_text()) == (2, "mine")
    assert "hefed did not put it there" in refused.err
    (out / "parties").mkdir()
    (out / "parties" / "lock").touch()  # as after an earlier run of hefed's
    for region in REGIONS:
        table = pd.read_csv(tmp_path / f"{region}.csv")
        _constant(table)
        table.to_csv(tmp_path / f"{region}.csv", index=False)
    assert hefed("simulate", study, "--out", out).code == 1
    assert not (out / "result.json").exists()
    assert (out / "result.previous.json").read_text() == "mine"


# --- What is next ----------------------------------------------------------------------------------


def test_it_ends_with_the_commands_that_look_at_what_it_left(tmp_path: Path) -> None:
    out = tmp_path / "an out"
    ended = hefed("simulate", study_file(tmp_path), "--out", out)
    assert ended.code == 0
    *_, before, heading, audit, verify = ended.out.splitlines()
    assert (before, heading) == ("", "What anybody can see of it now, without a secret:")
    for line, name in ((audit, "audit"), (verify, "verify")):
        typed, *words = shlex.split(line, comments=True)
        assert (typed, words[0]) == ("hefed", name)
        assert hefed(*words).code == 0


def test_without_a_file_of_the_result_only_the_transcripts_are_named(tmp_path: Path) -> None:
    assert next_commands(tmp_path, "hefed")[1:] == [
        f"hefed audit {tmp_path}  # whether all kept to the rules, and what was released to whom"
    ]


def test_a_program_that_the_shell_does_not_find_is_named_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "hefed"
    there.touch(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", [str(there)])
    assert program() == str(there)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "hefed"
    monkeypatch.setattr("sys.argv", [str(tmp_path / "__main__.py")])
    assert program() == "hefed"


# --- Progress in a terminal ------------------------------------------------------------------------


def _in_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Runs hefed with a terminal for all three of its files; returns exit code and everything that it showed."""
    ours, theirs = pty.openpty()
    environ = environment() | {"TERM": "xterm-256color", "COLUMNS": "160"}
    process = subprocess.Popen(command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                shown += os.read(ours, 2**16)
            except OSError:  # Linux says so when the other end is closed
                break
        code = process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return code, shown.decode()


def test_progress_is_live_in_a_terminal_and_the_table_stays(tmp_path: Path) -> None:
    code, shown = _in_a_terminal(
        "simulate", study_file(tmp_path), "--out", tmp_path / "out", "--port", str(free_port())
    )
    assert code == 0
    assert "\x1b[?25l" in shown  # the cursor is hidden meanwhile,
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and shown again
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "waiting for" in plain
    assert re.search(r"waiting for halland, kronoberg, orebro, \d+ s left", plain)  # while they read their tables
    assert "keyholders open the sum" in plain or "encrypted contributions" in plain
    assert "\x1b[2K" in shown  # one line, drawn again
    final = shown[shown.rindex("\x1b[?25h") :]
    assert "serum_creatinine" in final
    assert "newton" not in final
    assert re.search(r"^hefed verify .*/out/result\.hefed  # ", final.replace("\r", ""), re.MULTILINE)
