"""What the aggregator takes from nobody, and how it ends a study."""

import pytest

from hefed.protocol import messages as m
from hefed.protocol.coordinator import Coordinator, give_up
from hefed.protocol.errors import ProtocolError, RepeatedError
from hefed.protocol.ports import Outgoing
from hefed.protocol.rules import Phase
from hefed.study import Study
from tests.protocol.federation import Federation
from tests.protocol.late import after_the_sum


def signed(federation: Federation, sender: str, content: m.Content, *attachments: bytes) -> m.Message:
    """The sender's next message, as only it can make it."""
    return federation.signers[sender].sign(
        content,
        federation="test",
        study=federation.submission.study,
        sender=sender,
        previous=federation.coordinator.board.last_digest.get(sender, m.ZERO_HASH),
        attachments=attachments,
    )


def test_nobody_speaks_in_the_aggregators_name(small_study: Study) -> None:
    """Whoever has its key as well: what the aggregator says, it says itself."""
    federation = Federation(small_study)
    federation.run(until=lambda running: running.board.phase is Phase.APPROVAL)
    coordinator = federation.coordinator
    end = signed(federation, "aggregator", m.End(words="over", missing=[]))
    with pytest.raises(ProtocolError, match="a message in the aggregator's own name"):
        coordinator.receive(end.envelope, (), federation.now, federation.present)
    assert coordinator.board.outcome is None
    coordinator.restore(end.envelope, (), federation.now)  # in its own stored record it may stand
    assert coordinator.board.outcome is not None


@pytest.mark.parametrize("frames", [(), (b"another",), (b"frame", b"frame")])
def test_frames_that_are_not_the_signed_ones_are_refused_and_nothing_changes(
    frames: tuple[bytes, ...], small_study: Study
) -> None:
    federation = Federation(small_study)
    asked: list[str] = []

    def before(name: str, outgoing: Outgoing) -> Outgoing | None:
        if name == "orebro" and outgoing.key == "contribution 1" and not asked:
            asked.append(name)
            envelope, coordinator = outgoing.message.envelope, federation.coordinator
            with pytest.raises(ProtocolError, match="what came with a 'contribution' of orebro is not what was signed"):
                coordinator.receive(envelope, frames, federation.now, federation.present)
            assert "orebro" not in coordinator.board.round.contributions
        return outgoing

    federation.before_accept = before
    federation.run()
    assert asked
    assert federation.finding().outcome == "result"


def test_the_attachment_of_an_answer_after_the_sum_is_neither_kept_nor_passed_on(small_study: Study) -> None:
    """The message itself is: its sender's next one follows on it."""
    federation, held = after_the_sum(small_study)
    late = [*held["university"], *held["kronoberg"]]
    entries = [entry for outgoing in late for entry in federation._accept(outgoing.message.sender, outgoing)]
    assert [entry.message for entry in entries[:4]] == [outgoing.message for outgoing in late]
    assert [len(outgoing.attachments) for outgoing in late] == [1, 0, 1, 1]
    assert [entry.attachments for entry in entries[:4]] == [(), (), (), late[3].attachments]
    federation.run(entries)
    assert federation.finding().outcome == "result"
    assert federation.refused == []
    envelope = late[0].message.envelope
    assert {party.record.count((envelope, ())) for party in federation.parties.values()} == {1}
    assert sorted(federation.board.rounds[1].answers) == ["halland", "orebro"]
    assert "university" in federation.board.rounds[2].answers  # it is asked again, as it has answered


def test_a_reader_makes_nothing_of_the_attachment_of_a_late_answer(small_study: Study) -> None:
    """Should the aggregator pass it on all the same: here it opens for nobody."""
    federation, held = after_the_sum(small_study)
    late = signed(federation, "university", held["university"][0].message.content, b"no answer")
    federation.deliver = lambda name, entry, attachments: (
        entry.message.envelope,
        (b"no answer",) if entry.message.digest == late.digest and name in small_study.readers else attachments,
    )
    entries = federation._accept("university", Outgoing("answer 1 1", late, (b"no answer",)))
    federation.run(entries)
    assert federation.board.outcome is None
    readers = [federation.parties[name] for name in small_study.readers]
    assert [party.record[-1] for party in readers] == [(late.envelope, (b"no answer",))] * 3
    assert [party.machine.reader.rounds_opened for party in readers] == [2, 2, 2]
    assert not any("refusal" in party.sent for party in readers)


def test_what_is_bound_to_a_late_answer_must_come_with_it(small_study: Study) -> None:
    federation, held = after_the_sum(small_study)
    (late,), coordinator = held["university"], federation.coordinator
    with pytest.raises(ProtocolError, match="what came with a 'answer' of university is not what was signed"):
        coordinator.receive(late.message.envelope, (), federation.now, federation.present)
    assert coordinator.board.last_digest["university"] == late.message.body.previous


@pytest.mark.parametrize(("name", "more"), [("university", (b"other bytes",)), ("kronoberg", ())])
def test_nobody_answers_or_checks_a_second_time_after_the_sum(
    name: str, more: tuple[bytes, ...], small_study: Study
) -> None:
    """With other bytes, each following on the last one."""
    federation, held = after_the_sum(small_study)
    late, coordinator = held[name][0], federation.coordinator
    assert [entry.message for entry in federation._accept(name, late)] == [late.message]
    again = signed(federation, name, late.message.content, *more)
    assert again.body.previous == late.message.digest
    with pytest.raises(RepeatedError, match=f"a second '{late.message.body.kind}' of {name}"):
        coordinator.receive(again.envelope, more, federation.now, federation.present)
    assert coordinator.board.last_digest[name] == late.message.digest
    assert sorted(coordinator.board.rounds[1].checks) == ["halland", "orebro"]


def test_a_study_that_waits_for_keyholders_at_the_deadline_names_them(small_study: Study) -> None:
    """All contributions of a round are there, but never enough keyholders at hand to be asked."""
    federation = Federation(small_study)

    def before(name: str, outgoing: Outgoing) -> Outgoing:
        if outgoing.key == "contribution 1" and len(federation.coordinator.board.round.contributions) == 2:
            federation.present.clear()
        return outgoing

    federation.before_accept = before
    federation.run()
    board = federation.board
    assert board.phase is Phase.CONTRIBUTION
    assert board.missing() == ()
    federation.now += small_study.security.deadline + 1
    federation.run([])
    assert board.outcome is not None
    assert board.outcome.how == "end"
    assert board.outcome.missing == ("halland", "kronoberg", "orebro", "university")
    assert "in round 1 it waited for halland, kronoberg, orebro, university" in board.outcome.words


def test_a_record_that_cannot_go_on_is_ended_with_the_reason_once(small_study: Study) -> None:
    federation = Federation(small_study)
    unbegun: Coordinator = federation.coordinator
    assert give_up(unbegun, ProtocolError("early"), federation.now) == []
    federation.run(until=lambda running: running.board.phase is Phase.APPROVAL)
    (entry,) = give_up(federation.coordinator, ProtocolError("a key \x1b[2J of nobody"), federation.now)
    assert entry.message.sender == "aggregator"
    assert entry.message.content == m.End(words="a key ?[2J of nobody", missing=[])
    outcome = federation.coordinator.board.outcome
    assert outcome is not None
    assert (outcome.how, outcome.words) == ("end", "a key ?[2J of nobody")
    assert give_up(federation.coordinator, ProtocolError("again"), federation.now) == []
