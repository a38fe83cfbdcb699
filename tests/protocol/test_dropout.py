"""Who goes missing, when, and what happens then."""

import numpy as np

from hefed.protocol import messages as m
from hefed.protocol.rules import Phase
from hefed.study import Study
from tests.protocol.federation import Federation


def _leave_when(federation: Federation, name: str, kind: str, round_number: int) -> None:
    """The member is gone from the moment at which it would send that."""
    before = federation.before_accept

    def pass_on(sender: str, outgoing):  # type: ignore[no-untyped-def]
        content = outgoing.message.content
        if sender == name and content.kind == kind and content.round == round_number:
            federation.present.discard(name)
        return before(sender, outgoing) if sender in federation.present else None

    federation.before_accept = pass_on


def test_a_mere_keyholder_gone_for_good_does_not_matter(small_study: Study, finished: Federation) -> None:
    federation = Federation(small_study)
    _leave_when(federation, "university", "answer", 2)
    federation.run()
    assert federation.board.rounds[2].opens[-1].attempt == 2
    assert "university" not in federation.board.rounds[3].opens[0].keyholders
    finding = federation.finding()
    np.testing.assert_allclose(finding.document["estimate"], finished.finding().document["estimate"], rtol=1e-9)
    assert all(finding.checked)  # three of four keyholders still confirm each other


def test_a_region_gone_after_contributing_does_not_stop_its_round(small_study: Study) -> None:
    federation = Federation(small_study)
    _leave_when(federation, "kronoberg", "check", 2)
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
    # The next round waits for it, and is given up with its name when the time is over.
    assert federation.board.phase is Phase.CONTRIBUTION
    assert federation.board.missing() == ("kronoberg",)
    federation.now += small_study.limits.wait + 1
    federation.run([])
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "end"
    assert federation.board.outcome.missing == ("kronoberg",)
    assert "kronoberg" in federation.board.outcome.words


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
        _leave_when(federation, name, "answer", 2)
    federation.run()
    assert federation.board.rounds[2].sum is None
    federation.now += small_study.limits.wait + 1
    federation.run([])
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "end"


def test_a_keyholder_that_never_approves_is_left_out_after_the_wait(small_study: Study, finished: Federation) -> None:
    federation = Federation(small_study)
    federation.present.discard("university")
    federation.run()
    assert federation.board.phase is Phase.APPROVAL
    federation.now += small_study.limits.wait + 1
    federation.run([])
    assert federation.board.dealt_keyholders == ("halland", "kronoberg", "orebro")
    finding = federation.finding()
    np.testing.assert_allclose(finding.document["estimate"], finished.finding().document["estimate"], rtol=1e-9)


def test_a_single_holder_opens_but_is_marked_as_not_checked(small_study: Study) -> None:
    federation = Federation(small_study)
    for name in ("university", "orebro"):
        _leave_when(federation, name, "answer", 2)
    federation.run(until=lambda f: len(f.board.rounds) == 4)
    reader = federation.parties["halland"].machine.reader
    assert reader.checked[:2] == [True, True]
    assert reader.checked[2] is False  # two keyholders are left: each share has one or two of its three holders
