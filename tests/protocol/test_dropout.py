"""Who goes missing, when, and what happens then."""

from pathlib import Path

import numpy as np
import pytest

from hefed.protocol import messages as m
from hefed.protocol.coordinator import PATIENCE, Coordinator
from hefed.protocol.rules import Phase
from hefed.study import Study
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation

NIGHT = 8 * 3600.0


def _pass(federation: Federation, seconds: float) -> None:
    """Time passes, and whoever has something to say then says it."""
    federation.now += seconds
    federation.run([])


def _assert_same_answer(federation: Federation, finished: Federation) -> None:
    estimate, expected = federation.finding().document["estimate"], finished.finding().document["estimate"]
    np.testing.assert_allclose(estimate, expected, rtol=1e-9)


@pytest.fixture
def long_study(tmp_path: Path) -> Study:
    """The small study, with a day of time."""
    return study_file(tmp_path / "study.toml", more='deadline = "1 d"')


def test_a_mere_keyholder_gone_for_good_does_not_matter(small_study: Study, finished: Federation) -> None:
    federation = Federation(small_study)
    federation.leave_at("university", "answer 2")
    federation.run()
    assert federation.board.rounds[2].opens[-1].attempt == 2
    assert "university" not in federation.board.rounds[3].opens[0].keyholders
    finding = federation.finding()
    np.testing.assert_allclose(finding.document["estimate"], finished.finding().document["estimate"], rtol=1e-9)
    assert all(finding.checked)  # three of four keyholders still confirm each other


def test_a_region_gone_after_contributing_does_not_stop_its_round(small_study: Study) -> None:
    federation = Federation(small_study)
    federation.leave_at("kronoberg", "check 2")
    federation.run()
    record = federation.board.rounds[2]
    assert record.sum is not None
    assert record.sum.absent == ["kronoberg"]
    assert (
        len(
            [
                e
                for e in federation.log
                if isinstance(e.message.content, m.Contribution) and e.message.content.round == 2
            ]
        )
        == 3
    )
    # The next round waits for it, and is given up with its name when the study's time is over.
    assert federation.board.phase is Phase.CONTRIBUTION
    assert federation.board.missing() == ("kronoberg",)
    _pass(federation, small_study.security.deadline - 1)
    assert federation.board.phase is Phase.CONTRIBUTION
    _pass(federation, 2)
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "end"
    assert federation.board.outcome.missing == ("kronoberg",)
    assert federation.board.outcome.words == (
        "the study's time is over ([security] deadline); in round 3 it waited for kronoberg"
    )


def test_a_keyholder_that_is_there_but_silent_is_left_out_once_and_for_all(
    small_study: Study, finished: Federation
) -> None:
    federation = Federation(small_study)
    federation.before_accept = lambda name, outgoing: (
        None if name == "university" and outgoing.key.startswith("answer") else outgoing
    )
    federation.run()
    waited = 0
    while federation.board.phase is not Phase.ENDED and waited < 3:
        federation.now += small_study.limits.wait / 2
        waited += 1
        federation.run([])
    np.testing.assert_allclose(
        federation.finding().document["estimate"], finished.finding().document["estimate"], rtol=1e-9
    )
    assert waited == 1  # the first round waits for it; the others do not ask it first
    assert federation.board.rounds[0].opens[0].keyholders == ["halland", "kronoberg", "orebro", "university"]
    assert federation.board.rounds[1].opens[0].keyholders == ["halland", "kronoberg", "orebro"]


def test_with_too_few_keyholders_nothing_is_opened(small_study: Study) -> None:
    federation = Federation(small_study)
    for name in ("university", "orebro", "kronoberg"):
        federation.leave_at(name, "answer 2")
    federation.run()
    _pass(federation, small_study.limits.wait + 1)
    assert federation.board.phase is Phase.OPENING
    _pass(federation, small_study.security.deadline)
    assert federation.board.rounds[2].sum is None
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "end"


def test_a_keyholder_that_never_approves_is_left_out_after_the_wait(small_study: Study, finished: Federation) -> None:
    federation = Federation(small_study)
    federation.present.discard("university")
    federation.run()
    assert federation.board.phase is Phase.APPROVAL
    _pass(federation, small_study.limits.wait + 1)
    assert federation.board.dealt_keyholders == ("halland", "kronoberg", "orebro")
    finding = federation.finding()
    np.testing.assert_allclose(finding.document["estimate"], finished.finding().document["estimate"], rtol=1e-9)


def test_a_single_holder_opens_but_is_marked_as_not_checked(small_study: Study) -> None:
    federation = Federation(small_study)
    for name in ("university", "orebro"):
        federation.leave_at(name, "answer 2")
    federation.run(until=lambda f: len(f.board.rounds) == 4)
    reader = federation.parties["halland"].machine.reader
    assert reader.checked[:2] == [True, True]
    assert reader.checked[2] is False  # two keyholders are left: each share has one or two of its three holders


# --- A night ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "phase"),
    [
        ("approval", Phase.APPROVAL),
        ("deal", Phase.DEALING),
        ("acknowledgement", Phase.ACKNOWLEDGEMENT),
        ("cohort", Phase.COHORT),
        ("contribution 0", Phase.CONTRIBUTION),
        ("contribution 2", Phase.CONTRIBUTION),
        ("check 2", Phase.CONTRIBUTION),  # of the next round: this one is opened without it
        ("answer 2", Phase.CONTRIBUTION),
        ("closing", Phase.CONTRIBUTION),
    ],
)
def test_a_study_survives_a_night_without_one_region(
    key: str, phase: Phase, long_study: Study, finished: Federation
) -> None:
    federation = Federation(long_study)
    federation.leave_at("kronoberg", key)
    federation.run()
    for _ in range(8):
        _pass(federation, NIGHT / 8)
        assert federation.board.phase is phase
        assert federation.board.missing() == ("kronoberg",)
    federation.come_back("kronoberg")
    _assert_same_answer(federation, finished)
    assert all(federation.finding().checked)
    assert federation.board.cohort_keyholders == ("halland", "kronoberg", "orebro", "university")


@pytest.mark.parametrize("key", ["approval", "acknowledgement", "answer 2"])
def test_for_a_keyholder_that_can_be_spared_a_phase_waits_no_longer_than_it_must(
    key: str, long_study: Study, finished: Federation
) -> None:
    """The wait is counted from when everybody else is there: kronoberg takes a night before."""
    federation = Federation(long_study)
    federation.leave_at("university", key)
    federation.leave_at("kronoberg", key)
    federation.run()
    _pass(federation, NIGHT)
    federation.come_back("kronoberg")
    if key != "answer 2":
        assert federation.board.missing() == ("university",)
        _pass(federation, long_study.limits.wait)
        assert federation.board.missing() == ("university",)
        _pass(federation, 1)
    _assert_same_answer(federation, finished)
    assert ("university" in federation.board.cohort_keyholders) == (key == "answer 2")


def test_a_keyholder_without_which_there_are_too_few_is_waited_for(long_study: Study, finished: Federation) -> None:
    federation = Federation(long_study)
    gone = ("halland", "orebro", "university")
    for name in gone:
        federation.leave_at(name, "answer 1")
    federation.run()
    _pass(federation, NIGHT)
    assert federation.board.phase is Phase.OPENING
    for name in gone:
        federation.come_back(name)
    _assert_same_answer(federation, finished)


def test_a_region_that_is_there_and_silent_is_waited_for_a_while_in_an_opening(long_study: Study) -> None:
    federation = Federation(long_study)
    federation.before_accept = lambda name, outgoing: (
        None if name == "kronoberg" and outgoing.key.startswith(("check", "answer")) else outgoing
    )
    federation.run()
    assert federation.board.missing() == ("kronoberg",)
    assert len(federation.board.round.opens) == 1
    _pass(federation, long_study.limits.wait * PATIENCE + 1)
    assert len(federation.board.round.opens) == 2  # others answer; its check is still missing
    assert "kronoberg" not in federation.board.round.opens[1].keyholders
    _pass(federation, long_study.limits.wait)
    assert federation.board.phase is Phase.OPENING
    _pass(federation, 1)
    assert federation.board.rounds[0].sum is not None
    assert federation.board.rounds[0].sum.absent == ["kronoberg"]


def test_a_night_without_the_aggregator_counts_for_no_wait(long_study: Study, finished: Federation) -> None:
    federation = Federation(long_study)
    federation.leave_at("university", "acknowledgement")
    federation.run()
    assert federation.board.phase is Phase.ACKNOWLEDGEMENT
    federation.now += NIGHT
    coordinator = Coordinator(
        federation.roster,
        federation.signers["aggregator"],
        federation.submission.study,
        lambda number: federation.log[number].attachments,
    )
    for entry in federation.log:
        coordinator.restore(entry.message.envelope, entry.attachments, federation.now)
    federation.coordinator = coordinator
    _pass(federation, long_study.limits.wait)
    assert federation.board.phase is Phase.ACKNOWLEDGEMENT
    federation.come_back("university")
    assert "university" in federation.board.cohort_keyholders
    _assert_same_answer(federation, finished)
