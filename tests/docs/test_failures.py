"""Failures that the pages of the specification list, one by one, where no larger attack shows them: each is refused in
the words that name who is at fault, and what stands beside it is taken.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hefed.crypto import packing
from hefed.protocol import contributor as contributor_module
from hefed.protocol import known_answer
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Entry, give_up
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.ports import Outgoing
from hefed.protocol.rules import Phase
from hefed.study import Study
from tests.protocol.conftest import study_file
from tests.protocol.federation import NOW, Federation


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


def test_a_complaint_after_the_proposal_ends_the_study_with_its_senders_name(study: Study) -> None:
    federation = Federation(study)
    federation.run(until=lambda running: running.board.phase is Phase.COHORT)
    coordinator = federation.coordinator
    late = said(federation, coordinator.board, "university", m.Complaint(dealer="orebro", words="wrong"))
    with pytest.raises(ProtocolError, match=r"'complaint' of university came in phase .*, where it has no place") as no:
        coordinator.receive(late.envelope, (), NOW, federation.present)
    give_up(coordinator, no.value, NOW)
    assert coordinator.board.outcome is not None
    assert coordinator.board.outcome.how == "end"
    assert "'complaint' of university" in coordinator.board.outcome.words


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
