"""What a malicious keyholder or contributor can try, and what comes of it."""

from typing import Any

import pytest

from hefed.protocol import keyholder as keyholder_module
from hefed.protocol import messages as m
from hefed.protocol.answers import most_bytes
from hefed.protocol.board import Board
from hefed.protocol.contexts import deal_context
from hefed.protocol.coordinator import Coordinator
from hefed.protocol.errors import EquivocationError, ProtocolError, SignatureError
from hefed.protocol.ports import Outgoing
from hefed.protocol.rules import Phase
from hefed.protocol.sealing import seal
from hefed.study import Study
from tests.attacks.cheating import replace, resigned, signed, words
from tests.protocol.federation import Federation
from tests.protocol.late import after_the_sum


def test_a_keyholder_that_answers_differently_when_asked_again_is_named(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong answer first and a right one later: the first must not be opened on the strength of the second."""
    federation = Federation(small_study)
    honest = keyholder_module.answer_groups

    def answer(precision: Any, keys: Any, subset: Any, use: Any) -> list[bytes]:
        packed = b"".join(honest(precision, keys, subset, use))
        first_time = len(federation.board.rounds) == 3 and len(federation.board.round.opens) == 1
        return [bytes([packed[0] ^ 1]) + packed[1:] if keys.keyholder == 0 and first_time else packed]

    monkeypatch.setattr(keyholder_module, "answer_groups", answer)

    def leave(name: str, outgoing: Outgoing) -> Outgoing | None:
        if name == "university" and outgoing.key == "answer 2 1":
            federation.present.discard("university")  # so that everybody is asked a second time
            return None
        return outgoing

    federation.before_accept = leave
    federation.run()
    assert "halland" in words(federation)
    assert "two different answers" in words(federation) or "do not agree" in words(federation)
    readers = [party.machine.reader for party in federation.parties.values() if party.machine.reader]
    assert [reader.rounds_opened for reader in readers] == [2, 2, 2]


def test_an_answer_that_is_not_well_packed_ends_the_round_and_is_named(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(small_study)
    honest = keyholder_module.answer_groups

    def answer(precision: Any, keys: Any, subset: Any, use: Any) -> list[bytes]:
        packed = b"".join(honest(precision, keys, subset, use))
        return [b"\xff" * len(packed) if keys.keyholder == 0 and len(federation.board.rounds) == 3 else packed]

    monkeypatch.setattr(keyholder_module, "answer_groups", answer)
    federation.run()
    assert "the answer of halland cannot be used: " in words(federation)
    readers = [party.machine.reader for party in federation.parties.values() if party.machine.reader]
    assert [reader.rounds_opened for reader in readers] == [2, 2, 2]


def test_an_answer_for_a_share_that_the_keyholder_does_not_hold_ends_the_round(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(small_study)
    honest = keyholder_module.write_answers

    def write(cipher: Any, profile: Any, values: int, full: Any, hashes: Any) -> bytes:
        swap = {(1,): (0,)} if len(federation.board.rounds) == 3 else {}
        full = [(swap.get(subset, subset), groups) for subset, groups in full]
        return honest(cipher, profile, values, full, hashes)

    monkeypatch.setattr(keyholder_module, "write_answers", write)
    federation.run()
    assert "the answer of halland cannot be used: it is for a share that it does not hold" in words(federation)


@pytest.mark.parametrize("more", [0, 1])
def test_answers_that_are_longer_than_any_are_neither_relayed_nor_stored(small_study: Study, more: int) -> None:
    federation = Federation(small_study)

    def change(outgoing: Outgoing) -> Outgoing:
        board = federation.board
        assert (board.threshold, len(board.dealt_keyholders)) == (2, 4)
        most = most_bytes(3, 1, board.profile, board.round.first.values)
        return resigned(federation, outgoing, outgoing.message.content, (bytes(most + more),))

    replace(federation, "orebro", {"answer 0 1": change})
    federation.run()
    relayed = [entry for entry in federation.log if entry.message.body.kind == "answer"]
    assert ("orebro" in {entry.message.sender for entry in relayed}) is not bool(more)
    refused = [str(error) for name, error in federation.refused if name == "orebro"]
    assert ("the answers of orebro are longer than those for all its sets can be" in refused) is bool(more)


def test_a_key_that_is_none_is_refused_with_the_name_of_who_approved_with_it(small_study: Study) -> None:
    federation = Federation(small_study)

    def change(outgoing: Outgoing) -> Outgoing:
        content = outgoing.message.content
        assert isinstance(content, m.Approval)
        bad = b"\xff" * 1184 + bytes(32)
        return resigned(federation, outgoing, content.model_copy(update={"reading_key": bad}), ())

    replace(federation, "orebro", {"approval": change})
    federation.run()
    assert [name for name, _ in federation.refused] == ["orebro"]
    assert "orebro is at fault" in str(federation.refused[0][1])


def test_seeds_that_are_not_the_signed_ones_are_complained_about(small_study: Study) -> None:
    federation = Federation(small_study)

    def change(outgoing: Outgoing) -> Outgoing:
        content = outgoing.message.content
        assert isinstance(content, m.Deal)
        public = federation.board.approval("university").dealing_keys["orebro"]
        wrong = seal(bytes(32 * 3), public, deal_context(federation.submission.study, "orebro", "university"))
        altered = content.model_copy(update={"sealed": content.sealed | {"university": wrong}})
        return resigned(federation, outgoing, altered, ())

    replace(federation, "orebro", {"deal": change})
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "complaint"
    assert "university" in words(federation)
    assert "orebro" in words(federation)


def test_a_second_contribution_in_a_round_is_refused(finished: Federation) -> None:
    board = Board(finished.roster, finished.submission.study)
    for entry in finished.log:
        board.post(entry.message)
        if entry.message.body.kind == "contribution" and entry.message.sender == "orebro":
            break
    again = finished.signers["orebro"].sign(
        entry.message.content,
        federation="test",
        study=finished.submission.study,
        sender="orebro",
        previous=entry.message.digest,
        attachments=entry.attachments,
    )
    with pytest.raises(EquivocationError, match="a second 'contribution' of orebro"):
        board.post(again)


def test_bytes_that_are_no_contribution_are_refused_with_the_name(small_study: Study) -> None:
    federation = Federation(small_study)

    def change(outgoing: Outgoing) -> Outgoing:
        bad = b"\xff" * len(outgoing.attachments[0])  # residues that are not below their primes
        return resigned(federation, outgoing, outgoing.message.content, (bad,))

    replace(federation, "orebro", {"contribution 2": change})
    federation.run()
    assert [name for name, _ in federation.refused] == ["orebro"]
    assert federation.board.rounds[2].sum is None


def test_a_region_that_does_not_follow_the_opened_sums_is_named(small_study: Study) -> None:
    federation = Federation(small_study)

    def change(outgoing: Outgoing) -> Outgoing:
        content = outgoing.message.content
        assert isinstance(content, m.Contribution)
        return resigned(federation, outgoing, content.model_copy(update={"label": bytes(32)}), outgoing.attachments)

    replace(federation, "orebro", {"contribution 2": change})
    federation.run()
    assert any("same label" in str(error) and name in ("orebro", "kronoberg") for name, error in federation.refused)


def test_nobody_speaks_out_of_turn(small_study: Study) -> None:
    """Every kind of message from every member in every phase: only what the table allows is accepted."""
    federation = Federation(small_study)
    tried: set[tuple[Phase, str]] = set()

    def probe(running: Federation) -> bool:
        phase = running.board.phase
        if phase is Phase.ENDED or (phase, "done") in tried:
            return False
        tried.add((phase, "done"))
        for content in (
            m.Dealing(approvals={}, keyholders=[]),
            m.Proposal(acknowledgements={}),
            m.Open(round=0, attempt=1, total=bytes(32), keyholders=[]),
            m.Sum(round=0, absent=[]),
            m.End(words="over", missing=[]),
        ):
            message = running.signers["orebro"].sign(
                content,
                federation="test",
                study=running.submission.study,
                sender="orebro",
                previous=running.board.last_digest.get("orebro", m.ZERO_HASH),
            )
            with pytest.raises(SignatureError, match="only a study's aggregator"):
                running.board.post(message)
            tried.add((phase, content.kind))
        return False

    federation.run(until=probe)
    assert len({phase for phase, _ in tried}) >= 6
    assert federation.finding().outcome == "result"


def taken_again_and_again(study: Study) -> tuple[int, int]:
    """How many answers to one question the aggregator takes of a keyholder after the sum, each following on the last,
    and how many bytes it keeps beside them.
    """
    federation, held = after_the_sum(study)
    (late,), taken, kept = held["university"], 0, 0
    message, attachments = late.message, late.attachments
    for number in range(10):
        try:
            entries = federation.coordinator.receive(message.envelope, attachments, federation.now, federation.present)
        except ProtocolError:
            break
        taken, kept = taken + 1, kept + sum(len(data) for entry in entries for data in entry.attachments)
        attachments = (bytes([number]) * len(late.attachments[0]),)
        message = signed(federation, "university", late.message.content, message.digest, attachments)
    return taken, kept


def test_answers_after_the_sum_do_not_fill_disks(small_study: Study) -> None:
    assert taken_again_and_again(small_study) == (1, 0)


def test_control_without_the_memory_of_late_answers_each_is_taken_and_kept(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Board, "_once", staticmethod(lambda already, message: None))
    monkeypatch.setattr(Coordinator, "_kept", lambda self, entry: entry)
    taken, kept = taken_again_and_again(small_study)
    assert taken == 10
    assert kept > 1_000
