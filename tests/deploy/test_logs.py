"""The log: one line a record whatever a stranger's words hold, and no values in it."""

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.node.logs import MAX_PLACES, MAX_WORDS, JsonFormatter, PlainFormatter, one_line, places

ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b[2J\x1b]0;taken\x07 a\r\nCRITICAL b\u2028c\u202ed\x85e\x00f\ud800g"
PATIENT = "19121212-1212"


def record(words: str, *args: object, name: str = "hefed.node.region", **extra: object) -> logging.LogRecord:
    """A record as a logger makes it."""
    return logging.getLogger(name).makeRecord(
        name, logging.INFO, "file", 1, words, args, None, extra={"unlisted": PATIENT, **extra}
    )


def raised() -> Exception:
    """An exception that has a value of a patient in its words, its cause, its notes and its frames."""

    def read(birth: str) -> None:
        try:
            int(birth)
        except ValueError as error:
            error.add_note(birth)
            raise KeyError(birth) from error

    try:
        read(PATIENT)
    except KeyError as error:
        return error
    raise AssertionError


def logged(program: str, *, as_json: bool, code: int = 0) -> str:
    """What a process writes to standard error after configure."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import logging\nfrom hefed.node import logs\nlogs.configure(json={as_json})\n{program}",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    return done.stderr


@given(st.text())
def test_any_words_are_one_printable_line_of_bounded_length(words: str) -> None:
    line = PlainFormatter().format(record("%s", words))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


@given(st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none()))
def test_any_words_and_fields_are_one_json_object(words: str, value: object) -> None:
    line = JsonFormatter().format(record("%s", words, peer=value))
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert entry["words"].isprintable()
    assert str(entry["peer"]).isprintable()


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_words_that_can_be_printed_stay_as_they_are(words: str) -> None:
    assert one_line(words) == words


def test_hostile_words_cannot_make_a_line_of_their_own() -> None:
    line = PlainFormatter().format(record("orebro says: %s", HOSTILE))
    assert line.isprintable()
    assert r"\x1b[2J\x1b]0;taken\x07 a\r\nCRITICAL b\u2028c\u202ed\x85e\x00f\ud800g" in line


def test_long_words_are_cut() -> None:
    assert len(one_line("å" * 10**6)) == MAX_WORDS + 3
    assert len(PlainFormatter().format(record("\x00" * 10**6))) < 5 * MAX_WORDS


def test_json_has_time_level_logger_words_and_the_listed_fields_only() -> None:
    before = datetime.now(UTC)
    entry = json.loads(
        JsonFormatter().format(record("hej %s", "Örebro", study=b"\xab" * 32, peer="orebro", phase="dealing", round=3))
    )
    time = datetime.fromisoformat(entry.pop("time"))
    assert time.utcoffset() is not None
    assert abs((time - before).total_seconds()) < 60
    assert entry == {
        "level": "info", "logger": "hefed.node.region", "words": "hej Örebro",
        "study": "ab" * 32, "peer": "orebro", "phase": "dealing", "round": 3,
    }  # fmt: skip


def test_of_a_field_that_is_no_plain_value_only_the_type_is_written() -> None:
    entry = json.loads(JsonFormatter().format(record("a", peer=[PATIENT], round=10**400)))
    assert (entry["peer"], entry["round"]) == ("list", "int")


@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_an_exception_is_its_kind_and_places_without_a_value(formatter: logging.Formatter) -> None:
    line = record("an error of our own")
    error = raised()
    line.exc_info = (type(error), error, error.__traceback__)
    shown = formatter.format(line)
    assert len(shown.splitlines()) == 1
    assert PATIENT not in shown
    assert re.search(r"KeyError at [\w.]*test_logs:\d+ raised.<locals>.read < [\w.]*test_logs:\d+ raised; ", shown)
    assert "from ValueError at " in shown


def test_what_is_missing_of_an_installation_and_why_a_file_fails_is_said() -> None:
    program = "import hefed.no_such_part"
    assert "ModuleNotFoundError (No module named 'hefed.no_such_part') at " in logged(program, as_json=False, code=1)
    program = f"open('/no/such/folder/{PATIENT}')"
    written = logged(program, as_json=False, code=1)
    assert "FileNotFoundError (no such file or directory) at " in written
    assert PATIENT not in written


def test_an_endless_recursion_is_cut_to_its_innermost_places() -> None:
    def again(depth: int) -> None:
        if depth == 0:
            raise KeyError
        again(depth - 1)

    with pytest.raises(KeyError) as caught:
        again(100)
    assert places(caught.value).count("again") == MAX_PLACES


def test_words_of_other_libraries_are_left_out() -> None:
    for formatter in (PlainFormatter(), JsonFormatter()):
        line = formatter.format(record("row %s", PATIENT, name="sqlalchemy.pool"))
        assert PATIENT not in line
        assert "sqlalchemy.pool" in line


@pytest.mark.parametrize("as_json", [False, True])
def test_an_uncaught_error_ends_the_process_with_one_line_without_its_words(as_json: bool) -> None:
    end = logged(f"raise ValueError('{PATIENT}')", as_json=as_json, code=1)
    thread = logged(
        f"import threading\nt = threading.Thread(target=int, args=('{PATIENT}',))\nt.start()\nt.join()", as_json=as_json
    )
    for written in (end, thread):
        assert written.count("\n") == 1
        assert PATIENT not in written
        assert "ValueError at " in written
        assert "critical" in written.lower()
        assert not as_json or json.loads(written)["exception"].startswith("ValueError")


def test_a_warning_shows_its_kind_and_place_only() -> None:
    written = logged(f"import warnings\nwarnings.warn('value {PATIENT}', UserWarning)", as_json=False)
    assert written.count("\n") == 1
    assert PATIENT not in written
    assert re.search(r"WARNING a warning, UserWarning, at \S+:\d+$", written.strip())


def test_a_line_that_cannot_be_written_says_so_without_its_values() -> None:
    written = logged(f"logging.getLogger('hefed.x').error('%d rows', '{PATIENT}')", as_json=False)
    assert written.count("\n") == 1
    assert written.endswith("ERROR a line of hefed.x could not be written\n")


def test_a_full_disk_under_the_log_does_not_stop_the_process() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import logging\nfrom hefed.node import logs\nlogs.configure(json=False)\n"
                "logging.getLogger('hefed').error('lost')\nprint('went on')",
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout == "went on\n"


def test_the_level_is_info_for_hefed_and_warning_for_others() -> None:
    written = logged(
        "for name in ('hefed.node', 'numba'):\n"
        "    for level in (10, 20, 30):\n        logging.getLogger(name).log(level, 'w')",
        as_json=False,
    )
    assert [line.split()[1] for line in written.splitlines()] == ["INFO", "WARNING", "WARNING"]
