"""Every process is killed at every kind of message, and started again: nothing changes, and nobody hangs.

In one study the regions and the analyst die, in one the aggregator, and in three short ones whoever ends a study before
its result.
"""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hefed.node.parties import AGGREGATOR, ANALYST
from hefed.protocol.board import Board
from hefed.protocol.rules import RULES
from hefed.study import Study
from tests.node.chains import Chain, cases
from tests.node.killing import AGGREGATOR_MOMENTS, REGION_MOMENTS, RESULT, RESULT_MOMENTS, SEEDS, Case
from tests.node.runs import cox_reference, study_file

CONTRIBUTORS = ("halland", "kronoberg", "orebro")
KEYHOLDER, READER = "university", "registry"
TOGETHER = 2
"""Studies that run at the same time: most of the time goes into starting processes."""
DEADLINE = 'deadline = "20 min"'
FOUR_AND_FOUR = f"""{DEADLINE}
keyholders = ["halland", "kronoberg", "orebro", "{KEYHOLDER}"]
readers = ["halland", "kronoberg", "orebro", "{READER}"]
"""
ONCE = ("approval", "deal", "acknowledgement", "cohort", "closing")

Plans = dict[str, list[Case]]


@dataclass
class LastWords:
    """A line at the end of the tests' output."""

    line: str

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Called by pytest."""
        terminalreporter.write_line(self.line)


@dataclass
class Ran:
    """A study after its end: its parties, and its record."""

    chain: Chain
    board: Board


def _contributor(first: int) -> list[Case]:
    """All that a region sends which contributes, holds keys and reads; each kind in a round of its own."""
    rounds = {"contribution": first, "check": first + 1, "answer": first + 3}
    return cases(dict.fromkeys(ONCE) | rounds, REGION_MOMENTS)


REGIONS: Plans = {
    **{name: _contributor(place) for place, name in enumerate(CONTRIBUTORS)},
    KEYHOLDER: cases({"approval": None, "acknowledgement": None, "answer": 2}, REGION_MOMENTS),
    READER: cases({"approval": None, "closing": None}, REGION_MOMENTS),
    ANALYST: cases({"invitation": None}, REGION_MOMENTS) + cases({RESULT: None}, RESULT_MOMENTS),
}
RELAY: Plans = {
    AGGREGATOR: cases(
        dict.fromkeys(("invitation", "dealing", "proposal", *ONCE))
        | {"contribution": 1, "open": 2, "check": 3, "answer": 4, "sum": 5},
        AGGREGATOR_MOMENTS,
    )
}


def _one(name: str, kind: str) -> Plans:
    return {
        AGGREGATOR: cases({kind: None}, AGGREGATOR_MOMENTS),
        **({name: cases({kind: None}, REGION_MOMENTS)} if name else {}),
    }


def _to_a_result(folder: Path, plans: Plans) -> Ran:
    regions = f"[regions.{KEYHOLDER}]\n[regions.{READER}]"
    study = study_file(folder / "study", security=FOUR_AND_FOUR, regions=regions)
    with Chain(study, folder, plans) as chain:
        return Ran(chain, chain.run())


def _to_an_end(folder: Path, plans: Plans, spoils: dict[str, str], *, without_table: str = "") -> Ran:
    study = study_file(folder / "study", security=DEADLINE)
    with Chain(study, folder, plans, spoils=spoils) as chain:
        if without_table:
            Study.load(study).tables[without_table].unlink()
        return Ran(chain, chain.run())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Ran]:
    """The five studies, after all those kills; how many there were is said at the end of the tests."""
    folder = tmp_path_factory.mktemp("kills")
    with ThreadPoolExecutor(TOGETHER) as pool:
        studies: dict[str, Future[Ran]] = {
            "aggregator": pool.submit(_to_a_result, folder / "aggregator", RELAY),
            "regions": pool.submit(_to_a_result, folder / "regions", REGIONS),
            "refusal": pool.submit(
                _to_an_end, folder / "refusal", _one("orebro", "refusal"), {}, without_table="orebro"
            ),
            "complaint": pool.submit(
                _to_an_end, folder / "complaint", _one("halland", "complaint"), {"kronoberg": SEEDS}
            ),
            "end": pool.submit(_to_an_end, folder / "end", _one("", "end"), {"kronoberg": "cohort"}),
        }
        done = {name: future.result() for name, future in studies.items()}
    deaths = [death for one in done.values() for death in one.chain.deaths]
    kinds = Counter(death.strike.case.kind for death in deaths)
    line = f"{len(deaths)} kills of processes, each at another message or moment: "
    line += ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    request.config.pluginmanager.register(LastWords(line))
    return done


EVERY = pytest.mark.parametrize("name", ["regions", "aggregator", "refusal", "complaint", "end"])
WITH_RESULT = pytest.mark.parametrize("name", ["regions", "aggregator"])


@WITH_RESULT
def test_the_answer_is_as_if_nobody_had_been_killed(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_result(cox_reference())


@EVERY
def test_every_kill_happened_at_its_moment(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_all_died_as_planned()


def test_no_kind_of_message_and_no_party_is_left_out(ran: dict[str, Ran]) -> None:
    deaths = [death for one in ran.values() for death in one.chain.deaths]
    at_the_aggregator = {death.strike.case.kind for death in deaths if death.name == AGGREGATOR}
    at_its_sender = {death.strike.case.kind for death in deaths if death.name != AGGREGATOR}
    assert at_the_aggregator == set(RULES)
    assert at_its_sender == {kind for kind, rule in RULES.items() if rule.sender != "aggregator"} | {RESULT}
    assert {death.name for death in deaths} == {AGGREGATOR, *CONTRIBUTORS, KEYHOLDER, READER, ANALYST}


@EVERY
def test_what_was_stored_before_a_kill_is_the_same_after_it(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_nothing_that_was_stored_changed()


@EVERY
def test_never_do_two_messages_leave_under_one_key(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_one_message_left_under_each_key()


@WITH_RESULT
def test_every_message_is_in_the_record_once_as_its_sender_stored_it(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_every_message_was_sent_once()


@EVERY
def test_everybody_knows_the_same_record(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_everybody_knows_the_same_record()


@WITH_RESULT
def test_of_all_that_left_a_region_it_is_noted_that_it_left(name: str, ran: dict[str, Ran]) -> None:
    ran[name].chain.assert_every_departure_is_noted()


@pytest.mark.parametrize(
    ("name", "how", "by", "words"),
    [
        ("refusal", "refusal", "orebro", "there is no file orebro.csv"),
        ("complaint", "complaint", "halland", "halland complains about the key that kronoberg dealt"),
        ("end", "end", AGGREGATOR, "refused a message of kronoberg"),
    ],
)
def test_a_study_that_ends_otherwise_ends_in_the_same_words(
    name: str, how: str, by: str, words: str, ran: dict[str, Ran]
) -> None:
    outcome = ran[name].board.outcome
    assert outcome is not None
    assert (outcome.how, outcome.by) == (how, by)
    assert words in outcome.words
