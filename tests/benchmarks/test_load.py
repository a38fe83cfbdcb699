"""The load test in small, so that it still runs when somebody wants it."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.load.__main__ import growth, show, write
from benchmarks.load.host import MadeUpWork
from benchmarks.load.run import KEYHOLDERS, Case, Measured, Party, Stage, measure
from hefed.crypto.parameters import PROFILES
from hefed.node.identity import Identity
from hefed.protocol.board import Board
from hefed.protocol.roster import Roster

SMALL = Case(contributors=5, values=20_000, rounds=2)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return measure(SMALL, tmp_path_factory.mktemp("load") / "parties")


def test_a_study_of_a_load_test_goes_through_all_its_stages(measured: Measured) -> None:
    names = [stage.name for stage in measured.stages]
    assert names == ["approvals", "keys", "cohort", "round 0", "round 1", "round 2", "closing"]
    assert all(stage.seconds > 0 for stage in measured.stages)
    assert measured.aggregator.cpu > 0
    assert measured.broken == 0


def test_what_each_party_transfers_is_what_the_protocol_says(measured: Measured) -> None:
    """A contribution and a sum have one size, so have the three answers; readers get them all, the aggregator once."""
    vector = PROFILES[SMALL.profile].packed_size(SMALL.values)
    answers = KEYHOLDERS * vector
    in_two_rounds = SMALL.rounds * vector
    assert in_two_rounds < measured.contributor.sent < in_two_rounds + 200_000
    assert (
        SMALL.rounds * (vector + answers) < measured.contributor.received < SMALL.rounds * (vector + answers) + 400_000
    )
    assert measured.keyholder.sent > measured.contributor.sent
    all_of_it = SMALL.rounds * SMALL.contributors * (vector + answers)
    assert all_of_it < measured.aggregator.sent < 1.5 * all_of_it


def test_an_aggregator_keeps_on_disk_what_it_passes_on(measured: Measured) -> None:
    vector = PROFILES[SMALL.profile].packed_size(SMALL.values)
    assert measured.aggregator.disk > SMALL.rounds * (SMALL.contributors + 1 + KEYHOLDERS) * vector


def test_a_region_takes_no_sum_but_the_right_one() -> None:
    """So a measurement is of right sums only: another one ends the study, and `measure` raises."""
    case = Case(contributors=3, values=231, rounds=1)
    board = Board(Roster.of("load", 1, [Identity.passing().member("aggregator", ("aggregator",))]), bytes(32))
    board.study = case.study()
    works = [MadeUpWork(name, board, case.values, case.rounds) for name in case.names]
    total = sum(work.contribution() for work in works)
    wrong = total + np.eye(1, case.values, 17)[0] * 1e-3
    with pytest.raises(AssertionError, match="Mismatched"):
        works[0].step(wrong)
    assert works[0].vector() is not None
    works[0].step(total)
    assert works[0].vector() is None


def test_growth_is_the_power_between_the_last_two_cases() -> None:
    cases = [_made_up(50, 231, seconds=1.0), _made_up(100, 231, seconds=4.0)]
    assert growth(cases, {"s": lambda one: one.seconds}) == ("contributors", [2.0])
    cases = [_made_up(20, 10_000, seconds=1.0), _made_up(20, 100_000, seconds=10.0)]
    assert growth(cases, {"s": lambda one: one.seconds}) == ("values", [1.0])


def test_tables_and_figures_name_the_cases(tmp_path: Path) -> None:
    cases = [_made_up(50, 231, seconds=1.0), _made_up(100, 231, seconds=4.0)]
    console = Console(record=True, width=120)
    show(console, "a series", cases)
    said = console.export_text()
    assert "a series" in said
    assert "the aggregator" in said
    assert "n^2.0" in said
    write(tmp_path / "load.json", cases)
    content = json.loads((tmp_path / "load.json").read_text())
    assert [case["case"]["contributors"] for case in content["cases"]] == [50, 100]
    assert content["machine"]["cores"] >= 1


def _made_up(contributors: int, values: int, seconds: float) -> Measured:
    party = Party(cpu=1.0, peak=1, received=1, sent=1, disk=1)
    stages = [Stage("round 1", seconds, 1.0)]
    return Measured(Case(contributors, values), seconds, 1, stages, party, party, party, 0, 0.0)
