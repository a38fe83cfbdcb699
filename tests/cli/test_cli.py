"""The command line as a person meets it: real processes, what they print, and the codes they end with."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hefed import __version__

ROOT = Path(__file__).parents[2]
COX = (ROOT / "examples/heart-failure/cox.toml").read_text()
HEAVY = {
    "numpy",
    "pandas",
    "numba",
    "tenseal",
    "zmq",
    "pydantic",
    "cryptography",
    "hefed.node",
    "hefed.crypto",
    "hefed.study",
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def hefed(*arguments: str | Path, folder: Path = ROOT) -> Ended:
    """Runs hefed in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "hefed", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A copy of the example study with its tables."""
    for file in (ROOT / "examples/heart-failure").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "cox.toml"


def test_help_names_the_commands() -> None:
    ended = hefed("--help")
    assert ended.code == 0
    assert "new-study" in ended.out
    assert "simulate" in ended.out


def test_help_answers_within_half_a_second() -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert hefed("--help").code == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_the_commands_are_imported_without_what_they_use() -> None:
    code = "import sys, hefed.cli; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    assert not HEAVY & loaded


def test_the_version() -> None:
    assert hefed("--version") == Ended(0, f"hefed {__version__}\n", "")


def test_without_a_command_the_help_is_printed() -> None:
    ended = hefed()
    assert "new-study" in ended.out + ended.err
    assert ended.code == 2


def test_a_study_that_is_right_is_said_to_be_right() -> None:
    ended = hefed("simulate", "--check", "examples/heart-failure/cox.toml")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines()]
    assert ["halland", "halland.csv", "150", "50", "0", "ok"] in rows
    assert ["orebro", "orebro.csv", "90", "29", "0", "ok"] in rows
    assert ended.out.endswith("All tables can be used: 299 rows, 96 events.\n")
    assert "\x1b" not in ended.out


def test_a_check_says_each_fault_and_what_is_right(study: Path) -> None:
    (study.parent / "halland.csv").unlink()
    table = study.parent / "orebro.csv"
    table.write_text(table.read_text().replace("serum_sodium", "sodium"))
    ended = hefed("simulate", "--check", study)
    assert ended.code == 2
    assert ended.err.splitlines() == [
        "hefed: region halland: there is no file halland.csv where it should be; check the path",
        "hefed: region orebro: column 'serum_sodium' is missing in orebro.csv; did you mean 'sodium'?",
    ]
    assert ["kronoberg", "kronoberg.csv", "59", "17", "0", "ok"] in [line.split() for line in ended.out.splitlines()]
    assert "All tables" not in ended.out


STUDY_MISTAKES = [
    ("threshold = 2", "threshold = 4", "[security] threshold is 4 of only 3 keyholders; lower it or add keyholders"),
    (
        "min_contributors = 3",
        "min_contributors = 2",
        "[security] min_contributors is 2, but must be at least threshold + 1",
    ),
    ("[regions.orebro]", "[regions.halland]", "two regions with the same name 'halland'"),
    ("threshold", "treshold", "unknown key 'treshold' in [security]; did you mean 'threshold'?"),
]
TABLE_MISTAKES = [
    ("1.9,130", "high,130", "column 'serum_creatinine' has something other than a number in line 2; mend it there"),
    ("4,1\n", "4,7\n", "column 'DEATH_EVENT' must be 0 or 1 and is something else in line 2; mend it there"),
    ("4,1\n", "-4,1\n", "column 'time' has a negative time in line 2; mend it there"),
    ("1.9,130", ",130", "has missing values: 'serum_creatinine' in 1 row"),
]


@pytest.mark.parametrize("check", [(), ("--check",)], ids=["run", "check"])
@pytest.mark.parametrize(("old", "new", "sentence"), STUDY_MISTAKES, ids=[m[1] for m in STUDY_MISTAKES])
def test_a_wrong_study_file_is_one_sentence_and_code_2(
    study: Path, check: tuple[str, ...], old: str, new: str, sentence: str
) -> None:
    assert old in COX
    study.write_text(COX.replace(old, new, 1))
    ended = hefed("simulate", study, "--out", study.parent / "out", *check)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"hefed: {study}: {sentence}")
    assert len(ended.err.splitlines()) == 1
    assert not (study.parent / "out").exists()


@pytest.mark.parametrize(("old", "new", "sentence"), TABLE_MISTAKES, ids=[m[2][:40] for m in TABLE_MISTAKES])
def test_a_wrong_table_is_one_sentence_and_code_2_before_anything_starts(
    study: Path, old: str, new: str, sentence: str
) -> None:
    table = study.parent / "halland.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    ended = hefed("simulate", study, "--out", study.parent / "out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"hefed: region halland: halland.csv {sentence}")
    assert len(ended.err.splitlines()) == 1
    assert not (study.parent / "out").exists()


def test_a_study_file_that_is_not_there(tmp_path: Path) -> None:
    ended = hefed("simulate", "none.toml", "--out", "out", folder=tmp_path)
    assert ended == Ended(2, "", "hefed: none.toml: cannot be read: no such file or directory; check the name\n")


def test_a_run_needs_a_folder() -> None:
    ended = hefed("simulate", "examples/heart-failure/cox.toml")
    assert ended == Ended(2, "", "hefed: simulate needs a folder for the result; add --out FOLDER\n")


def test_wrong_pooled_answers_are_said_before_the_run(tmp_path: Path) -> None:
    study = "examples/heart-failure/cox.toml"
    reference = "examples/reference/heart-disease-logistic.json"
    ended = hefed("simulate", study, "--out", tmp_path / "out", "--compare", reference)
    sentence = (
        f"hefed: {reference}: holds no pooled answer for the model of heart-failure-mortality; choose another file\n"
    )
    assert ended == Ended(2, "", sentence)
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_is_code_2() -> None:
    ended = hefed("simulate", "--chek", "x.toml")
    assert ended.code == 2
    assert "--check" in ended.err


def test_a_new_study_is_written_and_passes_its_check(study: Path) -> None:
    tables = ["halland.csv", "orebro.csv", "kronoberg.csv"]
    ended = hefed("new-study", *tables, "-o", "mine.toml", folder=study.parent)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("mine.toml: cox model of time, DEATH_EVENT on age, ")
    checked = hefed("simulate", "--check", "mine.toml", folder=study.parent)
    assert (checked.code, checked.err) == (0, "")
    assert "299 rows, 96 events" in checked.out


def test_a_study_file_is_never_written_over(study: Path) -> None:
    tables = ["halland.csv", "orebro.csv", "kronoberg.csv"]
    ended = hefed("new-study", *tables, "-o", "cox.toml", folder=study.parent)
    assert ended == Ended(2, "", "hefed: cox.toml: is there already; name another file with -o\n")
    assert study.read_text() == COX
    ended = hefed("new-study", *tables, "-o", "none/cox.toml", folder=study.parent)
    assert ended == Ended(2, "", "hefed: none/cox.toml: cannot be written: no such file or directory\n")


def test_too_few_or_missing_tables_are_one_sentence(study: Path) -> None:
    ended = hefed("new-study", "halland.csv", "orebro.csv", folder=study.parent)
    assert ended.code == 2
    assert ended.err == "hefed: a study needs the tables of at least 3 regions, not 2; name more files\n"
    ended = hefed("new-study", "halland.csv", "orebro.csv", "no.csv", folder=study.parent)
    assert ended.code == 2
    assert ended.err == "hefed: table no.csv: there is no file no.csv where it should be; check the path\n"
