"""Spin searches the protocol's state models: every property holds, and every control finds its violation."""

import importlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from protocols.model import check

ROOT = Path(check.__file__).parents[2]
PAGE = (Path(check.__file__).parent / "README.md").read_text()
MODULES = {
    "Board": "hefed.protocol.board",
    "ContributorPart": "hefed.protocol.contributor",
    "Coordinator": "hefed.protocol.coordinator",
    "KeyholderPart": "hefed.protocol.keyholder",
    "Member": "hefed.protocol.member",
    "OpenedRounds": "hefed.protocol.opened",
    "Participation": "hefed.node.participation",
    "ReaderPart": "hefed.protocol.reader",
    "Study": "hefed.study",
}
needs_spin = pytest.mark.skipif(bool(check.missing()), reason="spin or gcc is not installed: apt-get install spin gcc")


@cache
def searched(run: check.Run) -> check.Result:
    return check.check(run)


@needs_spin
@pytest.mark.parametrize("run", check.RUNS, ids=lambda run: run.name)
def test_a_property_holds_and_with_a_defence_off_it_does_not(run: check.Run) -> None:
    assert searched(run).found == (run.violated or "holds")


@needs_spin
@pytest.mark.parametrize("model", check.PROPERTIES)
def test_every_line_of_a_model_is_reached_or_says_why_not(model: str) -> None:
    results = {run: searched(run) for run in check.RUNS if run.model == model}
    assert all(result.lines for result in results.values())
    assert check.never_reached(results, model) == check.explained(model)


@pytest.mark.parametrize("model", check.PROPERTIES)
def test_everything_that_a_model_asserts_has_a_control(model: str) -> None:
    asserted = set(check.PROPERTIES[model].split(", "))
    assert asserted <= {run.violated for run in check.RUNS if run.model == model}
    assert {run.regions for run in check.RUNS if run.model == model and not run.violated} == {3, 4}


def test_the_page_lists_the_controls_that_are_run() -> None:
    listed = {
        (option, violated)
        for option, words in re.findall(r"^\| [^|]* \| `([A-Z_=0-9]+)` \| (.*) \|$", PAGE, re.MULTILINE)
        for violated in re.findall(r"`(\w+)`", words)
    }
    run = {(option, run.violated) for run in check.RUNS if run.violated for option in run.options}
    shared = {"COHORTS_ONLY", "SAME_ROUND", "DOWN=0", "DOWN=1", *check.FOUR}
    assert listed == {(option, violated) for option, violated in run if option not in shared}


def test_the_code_that_steps_stand_for_is_there() -> None:
    table = PAGE.split("## Which code a step stands for")[1]
    named = re.findall(r"`([A-Z]\w+)\.(\w+)`", table)
    assert len(named) > 20
    for owner, name in named:
        assert hasattr(getattr(importlib.import_module(MODULES[owner]), owner), name), f"{owner}.{name}"


@needs_spin
def test_a_search_that_was_cut_off_does_not_count() -> None:
    run = next(run for run in check.RUNS if run.model == "round" and not run.violated)
    assert check.check(run, depth=100).found == "not complete: max search depth too small"


@needs_spin
def test_a_violation_that_is_not_expected_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    control = next(run for run in check.RUNS if run.violated == "two_cohorts")
    monkeypatch.setattr(check, "RUNS", (check.Run(control.model, control.regions, control.options),))
    assert check.main() == 1


def test_without_spin_the_command_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "protocols.model.check"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "apt-get install spin gcc" in done.stderr
