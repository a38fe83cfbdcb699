"""Failures that the pages of the specification list, one by one, where no larger attack shows them: each is refused in
the words that name who is at fault, and what stands beside it is taken.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hefed.crypto import packing
from hefed.protocol import contributor as contributor_module
from hefed.protocol import known_answer
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.contexts import deal_context
from hefed.protocol.coordinator import Entry
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.ports import Outgoing
from hefed.protocol.rules import Phase
from hefed.protocol.sealing import seal
from hefed.study import Study
from tests.attacks.cheating import replace, resigned
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_file(tmp_path_factory.mktemp("failures") / "study.toml")


@pytest.fixture(scope="module")
def finished(study: Study) -> Federation:
    """A federation that has finished the study. Look, do not touch."""
    federation = Federation(study)
    federation.run()
    return federation


def board_after(finished: Federation, last: Callable[[Entry], bool]) -> Board:
    """The record up to and with the first entry for which that holds."""
    board = Board(finished.roster, finished.submission.study)
    for entry in finished.log:
        board.post(entry.message)
        if last(entry):
            return board
    raise AssertionError("no such entry")


def said(finished: Federation, board: Board, sender: str, content: m.Content, *attachments: bytes) -> m.Message:
    """A message that follows on the sender's last one in that record."""
    return finished.signers[sender].sign(
        content,
        federation=finished.roster.federation,
        study=finished.submission.study,
        sender=sender,
        previous=board.last_digest.get(sender, m.ZERO_HASH),
        attachments=attachments,
    )


def is_kind(kind: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.message.body.kind == kind


def refusals(federation: Federation) -> dict[str, str]:
    """What each member that refused sent last."""
    sent = {name: party.sent.get("refusal") for name, party in federation.parties.items()}
    contents = {name: outgoing.message.content for name, outgoing in sent.items() if outgoing is not None}
    return {name: content.words for name, content in contents.items() if isinstance(content, m.Refusal)}


# --- Dealing and cohort ----------------------------------------------------------------------------------------------


def test_a_cohort_without_the_contributors_own_approval_or_deal_is_not_signed(finished: Federation) -> None:
    party = finished.parties["orebro"]
    approval, deal = (party.sent[key].message.digest for key in ("approval", "deal"))
    sign = party.machine.contributor.sign_cohort
    assert sign(approval, deal).cohort == finished.board.cohort.digest
    for own in ((bytes(32), deal), (approval, bytes(32))):
        with pytest.raises(EquivocationError, match="does not hold what orebro approved and dealt"):
            sign(*own)


def dealt_wrongly(study: Study) -> Federation:
    """Orebro sealed other seeds to university than those that it signed, and university is away when it finds out."""
    federation = Federation(study)

    def change(outgoing: Outgoing) -> Outgoing:
        content = outgoing.message.content
        assert isinstance(content, m.Deal)
        public = federation.board.approval("university").dealing_keys["orebro"]
        wrong = seal(bytes(32 * 3), public, deal_context(federation.submission.study, "orebro", "university"))
        return resigned(
            federation, outgoing, content.model_copy(update={"sealed": content.sealed | {"university": wrong}})
        )

    replace(federation, "orebro", {"deal": change})
    federation.leave_at("university", "acknowledgement")
    return federation


@pytest.mark.parametrize("until", [Phase.COHORT, Phase.CONTRIBUTION, Phase.OPENING])
def test_a_complaint_after_the_proposal_ends_the_study_with_both_names(until: Phase, study: Study) -> None:
    federation = dealt_wrongly(study)
    federation.run()
    federation.now += study.limits.wait + 1  # for university, which can be spared
    federation.run([], until=lambda running: running.board.phase is until)
    assert federation.board.proposal is not None
    assert "university" not in federation.board.proposal.acknowledgements
    federation.come_back("university")
    outcome = federation.coordinator.board.outcome
    assert outcome is not None
    assert (outcome.how, outcome.by, outcome.about) == ("complaint", "university", "orebro")
    assert outcome.words.startswith("university complains about the key that orebro dealt: ")
    assert all(party.machine.board.outcome == outcome for party in federation.parties.values())
    assert all(party.machine.ended for party in federation.parties.values())


def test_who_acknowledged_a_deal_cannot_complain_about_it(finished: Federation) -> None:
    board = board_after(finished, is_kind("proposal"))
    late = said(finished, board, "university", m.Complaint(dealer="orebro", words="wrong"))
    with pytest.raises(ProtocolError, match="that it acknowledged before; university is at fault"):
        board.post(late)


def test_a_complaint_is_about_a_key_that_was_dealt_to_who_complains(tmp_path: Path) -> None:
    federation = Federation(study_file(tmp_path / "study.toml"))
    federation.leave_at("university", "approval")
    federation.run()
    federation.now += federation.study.limits.wait + 1
    federation.run([], until=lambda running: running.board.phase is Phase.ACKNOWLEDGEMENT)
    assert federation.board.dealt_keyholders == ("halland", "kronoberg", "orebro")
    for sender, dealer in (("university", "orebro"), ("orebro", "university")):
        wrong = said(federation, federation.board, sender, m.Complaint(dealer=dealer, words="wrong"))
        with pytest.raises(ProtocolError, match=f"{sender} complains about a key that was not dealt to it"):
            federation.board.post(wrong)
    federation.board.post(said(federation, federation.board, "orebro", m.Complaint(dealer="halland", words="wrong")))
    assert federation.board.phase is Phase.ENDED


# --- Rounds ----------------------------------------------------------------------------------------------------------


def test_a_wrong_known_answer_ends_the_study_before_a_patients_number_is_sent(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        """The program of a region, orebro, that has other known vectors."""

        @staticmethod
        def vector(label: bytes, name: str) -> Any:
            return known_answer.vector(label, name) / (2 if name == "orebro" else 1)

    monkeypatch.setattr(contributor_module, "known_answer", Wrong)
    federation = Federation(study)
    federation.run()
    assert set(refusals(federation)) == {"halland", "kronoberg", "orebro"}
    assert all("known answer of round 0 came out wrong" in words for words in refusals(federation).values())
    assert not any("contribution 1" in party.sent for party in federation.parties.values())


def test_a_later_attempt_cannot_name_another_sum(finished: Federation) -> None:
    board = board_after(finished, is_kind("open"))
    first = board.round.opens[0]
    again = first.model_copy(update={"attempt": 2})
    with pytest.raises(EquivocationError, match="another sum opened in round 0 than it said first"):
        board.post(said(finished, board, "aggregator", again.model_copy(update={"total": bytes(32)})))
    board.post(said(finished, board, "aggregator", again))


def test_an_integer_out_of_range_ends_the_round_for_every_reader(study: Study) -> None:
    """A region adds a quarter of Q to one value of its contribution, and signs the check value of that."""
    federation = Federation(study)

    def before(name: str, outgoing: Outgoing) -> Outgoing:
        if (name, outgoing.key) != ("orebro", "contribution 2"):
            return outgoing
        content, profile = outgoing.message.content, federation.board.profile
        assert isinstance(content, m.Contribution)
        residues = packing.unpack(profile, outgoing.attachments[0], content.values).astype(object)
        amount = profile.modulus // 4
        residues[:, 0] = [(r + amount) % p for r, p in zip(residues[:, 0], profile.primes, strict=True)]
        packed = packing.pack(profile, residues.astype(np.uint64))
        changed = Outgoing(outgoing.key, said(federation, federation.board, name, content, packed), (packed,))
        federation.parties[name].sent[outgoing.key] = changed
        federation.parties[name].machine._last_digest = changed.message.digest
        return changed

    federation.before_accept = before
    federation.run()
    assert set(refusals(federation)) == {"halland", "kronoberg", "orebro"}
    assert all("is outside the range of right sums" in words for words in refusals(federation).values())


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{"last": bytes(32)}, {"decisions": bytes(32)}, {"outcome": "error"}], ids=str)
def test_readers_that_close_with_different_sums_or_decisions_are_named(
    other: dict[str, Any], finished: Federation
) -> None:
    board = board_after(finished, is_kind("closing"))
    (first,) = board.closings
    second = next(name for name in board.study.readers if name != first)
    with pytest.raises(EquivocationError, match=f"{second} and {first} do not close the study with the same"):
        board.post(said(finished, board, second, board.closings[first].model_copy(update=other)))
    board.post(said(finished, board, second, board.closings[first]))


def test_who_has_closed_contributes_no_more(finished: Federation) -> None:
    board = board_after(finished, is_kind("closing"))
    (closed,) = board.closings
    before = board.rounds[-2].first
    content = before.model_copy(update={"round": board.round.number})
    packed = bytes(board.profile.packed_size(content.values))
    with pytest.raises(EquivocationError, match=f"{closed} closed the study and contributes all the same"):
        board.post(said(finished, board, closed, content, packed))
