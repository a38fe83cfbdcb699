"""The real state machines through interleavings that hypothesis draws: messages that wait, members and an aggregator
that are started again or gone, and an aggregator that shows members different records.

The properties are those of `protocols/model`, which searches all states of small models; here they are asserted of the
code itself, with real encryption.
"""

import hashlib
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Coordinator, Entry, delivers_attachments
from hefed.protocol.ports import Outgoing
from hefed.protocol.rules import Phase
from hefed.study import Study
from tests.protocol.federation import Federation

MEMBERS = st.sampled_from(("halland", "kronoberg", "orebro", "university"))
NAMES = ("halland", "kronoberg", "orebro", "university")


class Interleavings(RuleBasedStateMachine):
    """One study. Every step is one that processes and a network could take."""

    study: Study
    estimate: list[float]

    @initialize()
    def begin(self) -> None:
        """A federation whose invitation is in the record, and has reached nobody."""
        self.federation = Federation(self.study)
        self.entries: list[Entry] = []
        self.shown = dict.fromkeys(NAMES, 0)
        self.honest = True  # whether every member was shown the aggregator's one record
        self.instead: dict[str, set[str]] = {name: set() for name in NAMES}  # kinds that a member is shown no more
        self.encrypted: dict[tuple[str, bytes], bytes] = {}
        self.answered_too_few: list[str] = []
        self._add(self.federation.submit())

    # --- what processes and the network do ----------------------------------------------------------------------------

    @rule(name=MEMBERS, most=st.integers(1, 12))
    def receives(self, name: str, most: int) -> None:
        """A member is shown the next entries."""
        for _ in range(most):
            if name in self.federation.present:
                self._show_next(name)

    @rule(name=MEMBERS)
    def sends(self, name: str) -> None:
        """What a member has stored and not sent reaches the aggregator."""
        if name in self.federation.present:
            self._send(name)

    @rule(name=MEMBERS)
    def starts_again(self, name: str) -> None:
        """A member is killed and started again: it says the same bytes, or what it had no time to say."""
        party = self.federation.parties[name]
        before = {key: outgoing.message.envelope for key, outgoing in party.sent.items()}
        said = self.federation.start(name)
        self._look(name, said)
        assert [outgoing.message.envelope for outgoing in said][: len(before)] == list(before.values())
        assert {key: party.sent[key].message.envelope for key in before} == before

    @rule()
    def aggregator_starts_again(self) -> None:
        """The aggregator is killed and started again, and reads its stored record."""
        federation = self.federation
        federation.coordinator = Coordinator(
            federation.roster,
            federation.signers["aggregator"],
            federation.submission.study,
            lambda number: self.entries[number].attachments,  # type: ignore[arg-type, return-value]
        )
        for entry in self.entries:
            federation.coordinator.restore(entry.message.envelope, entry.attachments, federation.now)

    @rule(name=MEMBERS)
    def goes_or_comes_back(self, name: str) -> None:
        """A connection ends, or is there again."""
        self.federation.present ^= {name}

    @rule(seconds=st.floats(0.1, 3))
    def time_passes(self, seconds: float) -> None:
        """The aggregator looks at its clock; the study's deadline is far away."""
        self.federation.now += seconds
        self._tick()

    # --- what a malicious aggregator does -----------------------------------------------------------------------------

    @precondition(lambda self: self.federation.board.phase in (Phase.ACKNOWLEDGEMENT, Phase.COHORT))
    @rule(name=MEMBERS, left_out=MEMBERS)
    def another_cohort_is_proposed(self, name: str, left_out: str) -> None:
        """To one member alone: without one of the keyholders that acknowledged."""
        board = self.federation.parties[name].machine.board
        acknowledged = {one: message.digest for one, message in board.acknowledgements.items() if one != left_out}
        if board.phase is Phase.ACKNOWLEDGEMENT and left_out in board.acknowledgements and len(acknowledged) > 1:
            self._show_forged(name, m.Proposal(acknowledgements=acknowledged))

    @precondition(lambda self: self.federation.board.phase is Phase.CONTRIBUTION)
    @rule(name=MEMBERS)
    def a_sum_of_too_few_is_to_be_opened(self, name: str) -> None:
        """By one member alone: before it was shown all contributions."""
        board = self.federation.parties[name].machine.board
        if board.phase is Phase.CONTRIBUTION and board.rounds:
            keyholders = sorted(board.cohort_keyholders)
            self._show_forged(name, m.Open(round=board.round.number, attempt=1, total=bytes(32), keyholders=keyholders))

    @rule(name=MEMBERS)
    def an_entry_is_left_out(self, name: str) -> None:
        """Of one member's record: what comes next."""
        if self.shown[name] < len(self.entries) - 1:
            self.shown[name] += 1
            self.honest = False

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def no_two_cohorts(self) -> None:
        """Whoever went on to the rounds has the cohort of everybody else who did."""
        cohorts = set()
        for party in self.federation.parties.values():
            if any(key.startswith(("contribution", "answer")) for key in party.sent):
                cohorts.add(party.machine.board.cohort.digest)
        assert len(cohorts) <= 1

    @invariant()
    def no_sum_of_too_few_is_answered(self) -> None:
        """Every answer was made with the contributions of all in the member's own record."""
        assert self.answered_too_few == []

    # `_look` asserts that nothing is encrypted twice under a label.

    def teardown(self) -> None:
        """Everybody is there from now on, and all is delivered: the study ends, and with its result where nobody was
        lied to.
        """
        federation = self.federation
        federation.present = set(NAMES)
        for _ in range(10_000):
            moved = False
            for name in NAMES:
                while self._show_next(name):
                    moved = True
                moved = self._send(name) or moved
            before = len(self.entries)
            self._tick()
            if not moved and len(self.entries) == before:
                if federation.board.phase is Phase.ENDED:
                    break
                federation.now += self.study.limits.wait if self.honest else self.study.security.deadline
        self.no_two_cohorts()
        self.no_sum_of_too_few_is_answered()
        assert federation.board.phase is Phase.ENDED
        assert federation.board.outcome is not None
        if self.honest:
            assert federation.board.outcome.how == "result", federation.board.outcome
            np.testing.assert_allclose(federation.finding().document["estimate"], self.estimate, rtol=1e-9)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _add(self, entries: list[Entry]) -> bool:
        for entry in entries:
            self.entries.append(entry)
            self.federation.log.append(entry)
            self.federation.board.post(entry.message)
        return bool(entries)

    def _tick(self) -> None:
        self._add(self.federation.coordinator.tick(self.federation.now, self.federation.present))

    def _show_next(self, name: str) -> bool:
        if self.shown[name] == len(self.entries):
            return False
        entry = self.entries[self.shown[name]]
        self.shown[name] += 1
        kind = entry.message.body.kind
        if kind in self.instead[name]:
            self.instead[name].remove(kind)
        else:
            self._show(name, entry)
        return True

    def _show(self, name: str, entry: Entry) -> None:
        wanted = delivers_attachments(self.federation.board, entry.message.body.kind, name)
        self._give(name, entry.message.envelope, tuple(map(bytes, entry.attachments)) if wanted else ())

    def _show_forged(self, name: str, content: m.Content) -> None:
        federation = self.federation
        board = federation.parties[name].machine.board
        message = federation.signers["aggregator"].sign(
            content,
            federation=federation.roster.federation,
            study=federation.submission.study,
            sender="aggregator",
            previous=board.last_digest.get("aggregator", m.ZERO_HASH),
        )
        self.honest = False
        self.instead[name].add(content.kind)
        self._give(name, message.envelope, ())

    def _give(self, name: str, envelope: bytes, attachments: tuple[bytes, ...]) -> None:
        party = self.federation.parties[name]
        party.record.append((envelope, attachments))
        said = party.machine.receive(envelope, attachments)
        self._look(name, said)
        for outgoing in said:
            party.sent.setdefault(outgoing.key, outgoing)

    def _look(self, name: str, said: list[Outgoing]) -> None:
        board = self.federation.parties[name].machine.board
        for outgoing in said:
            content = outgoing.message.content
            if isinstance(content, m.Contribution):
                vector = hashlib.sha256(b"".join(outgoing.attachments)).digest()
                assert self.encrypted.setdefault((name, content.label), vector) == vector
            if isinstance(content, m.Answer):
                contributed = set(board.rounds[content.round].contributions)
                if (
                    contributed != set(self.study.contributors)
                    or len(contributed) < self.study.security.min_contributors
                ):
                    self.answered_too_few.append(name)

    def _send(self, name: str) -> bool:
        federation = self.federation
        accepted = sum(entry.message.sender == name for entry in self.entries)
        waiting = list(federation.parties[name].sent.values())[accepted:]
        for outgoing in waiting:
            try:
                entries = federation.coordinator.receive(
                    outgoing.message.envelope, outgoing.attachments, federation.now, federation.present
                )
            except Exception:
                assert not self.honest  # who was shown another record says what does not fit this one
                return False
            self._add(entries)
        return bool(waiting)


def machine_of(study: Study, estimate: Any) -> type[Interleavings]:
    return type("Interleavings", (Interleavings,), {"study": study, "estimate": estimate})


def test_no_interleaving_breaks_what_the_models_promise(small_study: Study, finished: Federation) -> None:
    run_state_machine_as_test(
        machine_of(small_study, finished.finding().document["estimate"]),
        settings=settings(
            max_examples=25,
            stateful_step_count=60,
            deadline=None,
            phases=(hypothesis.Phase.generate,),  # to make an example small would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


# --- Controls: the same steps with a defence off ----------------------------------------------------------------------


def one_by_one(study: Study, name: str, before: str) -> Interleavings:
    """All deliver and send, but for a member that is shown the record up to the first entry of a kind."""
    made = machine_of(study, None)()
    made.begin()  # type: ignore[call-arg]
    while made.entries[-1].message.body.kind != before and not _has(made, before):
        for one in NAMES:
            made.receives(one, 1)
            made.sends(one)
    while made.entries[made.shown[name]].message.body.kind != before:
        made.receives(name, 1)
    return made


def _has(made: Interleavings, kind: str) -> bool:
    return any(entry.message.body.kind == kind for entry in made.entries)


def deliver(made: Interleavings) -> None:
    for _ in range(40):
        for name in NAMES:
            made.receives(name, 12)
            made.sends(name)
            made.no_two_cohorts()
            made.no_sum_of_too_few_is_answered()


@pytest.mark.parametrize("defended", [True, False])
def test_without_a_look_at_the_cohort_two_go_on(
    small_study: Study, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    made = one_by_one(small_study, "orebro", "proposal")
    made.another_cohort_is_proposed("orebro", "university")
    assert not made.honest
    if defended:
        deliver(made)
        return

    def takes_any(self: Board, message: m.Message, content: m.CohortSignature) -> bool:
        self.cohort_signatures.add(message.sender)
        return self.cohort_signatures == set(self.study.contributors)

    monkeypatch.setattr(Board, "_on_cohort", takes_any)
    with pytest.raises(AssertionError):
        deliver(made)


@pytest.mark.parametrize("defended", [True, False])
def test_without_a_look_at_who_contributed_too_few_are_answered(
    small_study: Study, monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    machine = one_by_one(small_study, "university", "contribution")
    if not defended:

        def opens_anything(self: Board, message: m.Message, content: m.Open) -> bool:
            self.round.opens.append(content)
            self.round.open_digests.append(message.digest)
            return True

        monkeypatch.setattr(Board, "_on_open", opens_anything)
    machine.receives("university", 1)
    machine.a_sum_of_too_few_is_to_be_opened("university")
    assert bool(machine.answered_too_few) is not defended
