"""How a node or the aggregator stands, on the screen: who is connected, which study is where, what it waits for."""

import io
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from hefed.report.status import print_status
from hefed.report.table import WIDTH

EVIL = "\x1b]0;taken\x07\x1b[31mred\x9b2J\r\n[bold]x[/bold]\u202e"
STUDY = {
    "study": "ab" * 32,
    "name": "heart-failure-mortality",
    "analyst": "analyst",
    "state": "running",
    "phase": "contribution",
    "round": 6,
    "waiting_for": ["kronoberg", "orebro"],
    "expires": 1_800_000_000,
}
REGION: dict[str, Any] = {
    "role": "region",
    "name": "halland",
    "connected": True,
    "ready_since": 1_790_000_000.0,
    "trouble": "",
    "present": ["kronoberg", "orebro"],
    "studies": [STUDY],
    "written": 1_790_000_100.0,
}


def shown(running: bool, standing: dict[str, Any], width: int = WIDTH) -> str:
    to = Console(file=io.StringIO(), width=width, highlight=False)
    print_status(running, standing, to)
    return to.file.getvalue()  # type: ignore[attr-defined]


def words(text: str) -> str:
    """The text as one line."""
    return re.sub(r"\s+", " ", text)


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sweden's, with its summer time."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


def test_a_region_that_is_connected() -> None:
    text = words(shown(True, REGION))
    assert text.startswith(
        "halland (region): running Connected to the aggregator, ready since 2026-09-21 16:13 UTC+02:00 "
        "Connected members: kronoberg, orebro "
    )
    assert "contribution," in text
    assert "round 6" in text
    assert "kronoberg, orebro" in text
    assert text.count("2027-01-15 09:00") == text.count("UTC+01:00") == 1  # of the deadline's own day


def test_a_region_that_is_not_connected_says_why() -> None:
    trouble = "the aggregator has not answered for 20 s; look at the address"
    text = words(shown(True, REGION | {"connected": False, "trouble": trouble, "present": []}))
    assert f"Not connected to the aggregator {trouble}" in text
    assert "ready since" not in text
    assert "Connected members" not in text


def test_a_process_that_does_not_run_says_how_it_stood_and_claims_no_connection() -> None:
    text = words(shown(False, REGION))
    assert text.startswith("halland (region): not running; this is how it stood at 2026-09-21 16:15:00 UTC+02:00")
    assert "Connected to" not in text
    assert "heart-failure-mortality" in text


def test_a_study_that_waits_for_the_people_here_says_what_they_type() -> None:
    pending = STUDY | {"state": "pending", "phase": "approval", "round": None, "waiting_for": ["halland"]}
    text = words(shown(True, REGION | {"studies": [pending]}))
    assert "waits for hefed" in text
    assert "approve or" in text
    assert "abababababababab" in text  # what names it for hefed approve
    assert "round" not in text


def test_what_has_ended_is_not_listed() -> None:
    assert shown(True, REGION | {"studies": [STUDY | {"phase": "ended"}]}).endswith("No study is running or waiting.\n")
    assert shown(True, REGION | {"studies": []}).endswith("No study is running or waiting.\n")


def test_the_aggregator_lists_the_members() -> None:
    members = [
        {"name": "halland", "connected": True, "since": 1_790_000_000.0, "package": "0.2.0"},
        {"name": "orebro", "connected": False, "since": None, "package": None},
    ]
    text = shown(True, {"role": "aggregator", "name": "aggregator", "members": members, "studies": [STUDY]})
    rows = [line.split() for line in text.splitlines()]
    assert ["halland", "yes", "2026-09-21", "16:13", "UTC+02:00", "0.2.0"] in rows
    assert ["orebro", "no"] in rows


def test_a_standing_from_the_start_of_a_process() -> None:
    """What the process writes first has no more than this."""
    text = shown(True, {"role": "region", "name": "halland", "notice": "starting: the encryption tests itself"})
    assert "starting: the encryption tests itself" in text
    assert "halland (region): not running; this is how it stood before" in shown(
        False, {"role": "region", "name": "halland"}
    )


def test_in_a_pipe_each_study_and_each_member_is_one_line() -> None:
    out = io.StringIO()
    far = STUDY | {"name": "n" * 64, "waiting_for": [f"region-number-{number}" for number in range(30)]}
    asked = STUDY | {"state": "pending", "phase": "approval", "round": None}
    members = [
        {"name": "halland", "connected": True, "since": 1_790_000_000.0, "package": "0.2.0"},
        {"name": "o" * 64, "connected": False, "since": None, "package": None},
    ]
    standing = REGION | {"studies": [far, asked], "members": members}
    print_status(True, standing, Console(file=out, width=WIDTH, highlight=False, soft_wrap=True))
    lines = out.getvalue().splitlines()
    rows = [re.split("  +", line) for line in lines]
    until = "2027-01-15 09:00 UTC+01:00"
    assert ["halland", "yes", "2026-09-21 16:13 UTC+02:00", "0.2.0"] in rows
    assert ["o" * 64, "no"] in rows
    waits = ", ".join(far["waiting_for"])
    assert ["n" * 64, "ab" * 8, "analyst", "contribution, round 6", until, waits] in rows
    assert rows[-1] == [
        *("heart-failure-mortality", "ab" * 8, "analyst", "approval", until), "waits for hefed approve or hefed refuse"
    ]  # fmt: skip
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize("width", [WIDTH, 50])
def test_it_fits_and_leaves_nothing_out(width: int) -> None:
    study = STUDY | {"name": "n" * 64, "waiting_for": [f"region-number-{number}" for number in range(30)]}
    text = shown(True, REGION | {"studies": [study], "present": []}, width)
    assert max(map(len, text.splitlines())) <= max(width, 67)  # the longest of the sentences above it
    assert "…" not in text
    assert text.count("n" * 5) >= 1


def test_words_of_others_do_nothing_to_the_terminal() -> None:
    standing = REGION | {
        "name": EVIL,
        "trouble": EVIL,
        "notice": EVIL,
        "present": [EVIL],
        "studies": [STUDY | {"name": EVIL, "analyst": EVIL, "waiting_for": [EVIL], "phase": EVIL}],
        "members": [{"name": EVIL, "connected": True, "since": 1.0, "package": EVIL}],
    }
    text = shown(True, standing, 400)
    assert "[bold]x[/bold]" in text
    assert not any(sign in text for sign in ("\x1b", "\x07", "\x9b", "\r", "\u202e"))
