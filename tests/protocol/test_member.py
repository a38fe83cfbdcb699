"""What a member does with what it should never be shown, and when it ends a study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.load.host import MadeUpWork
from hefed.crypto.label import SignedUse
from hefed.crypto.parameters import PRECISE
from hefed.protocol import contributor as contributor_module
from hefed.protocol import messages as m
from hefed.protocol.ahead import ROOM, Ahead
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Entry
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.keyholder import KeyholderPart
from hefed.protocol.member import Member
from hefed.protocol.ports import Outgoing, Work
from hefed.protocol.rules import Phase
from hefed.study import Study, StudyError
from tests.consent import taking_part
from tests.protocol.conftest import study_file
from tests.protocol.federation import NOW, Federation
from tests.protocol.test_restart import _changed_in_round_3

Prepare = Callable[[Board], Work | None]


def words_of(outgoing: list[Outgoing]) -> str:
    """The words of the one message, a refusal."""
    (said,) = outgoing
    assert said.key == "refusal"
    content = said.message.content
    assert isinstance(content, m.Refusal)
    return content.words


def machine(
    federation: Federation, name: str, prepare: Prepare, recall: Callable[[str], Outgoing | None] = lambda key: None
) -> Member:
    """The machine of a member with what is on its disk, or with less."""
    party = federation.parties[name] if name in federation.parties else federation.parties["halland"]
    return Member(
        name=name,
        signer=federation.signers[name],
        roster=federation.roster,
        study=federation.submission.study,
        vault=party.vault,
        recall=recall,
        prepare=prepare,
    )


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which roles are apart: orebro holds no shares, kronoberg and university do, university reads too."""
    roles = 'keyholders = ["halland", "kronoberg", "university"]\nreaders = ["halland", "kronoberg", "orebro"]'
    return study_file(tmp_path_factory.mktemp("parted") / "study.toml", more=roles)


# --- what ends a study ----------------------------------------------------------------------------


def test_bytes_that_are_no_message_end_the_study_for_who_is_shown_them(small_study: Study) -> None:
    federation = Federation(small_study)
    federation.run(until=lambda running: running.board.phase is Phase.DEALING)
    halland = federation.parties["halland"].machine
    assert "not CBOR" in words_of(halland.receive(b"\xff", ()))
    assert halland.ended
    deal = federation.parties["orebro"].sent["deal"].message
    assert halland.receive(deal.envelope, ()) == []
    assert halland.follow(deal, ()) == []
    assert halland.decline("once more") == []
    assert halland.board.deals == {}


def test_a_member_that_ends_a_study_erases_its_keys_and_says_so_once(small_study: Study) -> None:
    federation = Federation(small_study)
    federation.run(until=lambda running: len(running.board.rounds) == 2)
    halland = federation.parties["halland"].machine
    assert halland.keyholder._share_keys.subsets
    said = halland.decline("the deadline \x1b[2J is over")
    assert words_of(said) == "the deadline ?[2J is over"
    assert halland.keyholder._share_keys.subsets == ()
    assert halland.decline("again") == []
    federation._accept("halland", said[0])
    outcome = federation.coordinator.board.outcome
    assert outcome is not None
    assert (outcome.how, outcome.by) == ("refusal", "halland")


def test_a_refusal_is_said_again_in_the_same_bytes_after_a_restart(small_study: Study, tmp_path: Path) -> None:
    bad = tmp_path / "orebro.csv"
    bad.write_text("age,DEATH_EVENT\n50,2\n")
    federation = Federation(small_study, orebro=bad)
    federation.run()
    before = federation.parties["orebro"].sent["refusal"].message.envelope
    federation.tables["orebro"] = small_study.tables["orebro"]  # in words of today it would not refuse
    federation.now += small_study.security.deadline + 1
    (said,) = federation.start("orebro")
    assert said.message.envelope == before
    assert federation.parties["orebro"].machine._last_digest == said.message.digest


@pytest.mark.parametrize("name", ["analyst", "aggregator"])
def test_who_has_no_part_in_a_study_says_so(name: str, finished: Federation) -> None:
    stranger = machine(finished, name, pytest.fail)
    said = stranger.receive(finished.log[0].message.envelope, ())
    assert words_of(said) == f"{name} has no part in this study"


def test_a_reader_needs_a_model_to_go_on_with(finished: Federation) -> None:
    said = machine(finished, "halland", lambda board: None).receive(finished.log[0].message.envelope, ())
    assert words_of(said) == "halland is to read the sums, but has no model to go on with"


def test_a_study_whose_contributor_does_not_read_is_none(finished: Federation) -> None:
    """A member relies on that: who contributes goes on from the sums that it reads."""
    invitation = finished.submission.invitation
    definition = dict(invitation.definition)
    definition["security"] = definition["security"] | {"readers": ["halland", "kronoberg"]}
    with pytest.raises(StudyError, match="leaves out 'orebro', which contributes and needs each sum to go on"):
        Study.from_public(definition)


@pytest.mark.parametrize("key", ["approval", "deal"])
def test_a_member_does_not_go_on_from_what_it_does_not_know_to_have_sent(key: str, finished: Federation) -> None:
    """Its disk lost a message that the record holds: it signs no cohort on the strength of that one."""
    party = finished.parties["halland"]
    left = {k: outgoing for k, outgoing in party.sent.items() if k not in (key, "cohort")}
    prepare = taking_part("halland", finished.tables["halland"], party.vault, lambda: NOW)
    anew = machine(finished, "halland", prepare, left.get)
    said: list[Outgoing] = []
    for envelope, attachments in party.record:
        said += anew.receive(envelope, attachments)
    assert [one.key for one in said] == ["approval", "deal", "acknowledgement", "refusal"]
    assert words_of(said[-1:]) == f"the record goes on from a '{key}' of halland that halland never sent"


# --- what it is shown -----------------------------------------------------------------------------


def test_roles_that_are_apart_find_the_same(parted: Study, finished: Federation) -> None:
    federation = Federation(parted)
    federation.run()
    found, expected = (one.finding().document["estimate"] for one in (federation, finished))
    assert found == pytest.approx(expected, rel=1e-9)
    assert {name: party.machine.keyholder is None for name, party in federation.parties.items()} == {
        "halland": False, "kronoberg": False, "orebro": True, "university": False,
    }  # fmt: skip
    assert not any(key.startswith(("acknowledgement", "answer")) for key in federation.parties["orebro"].sent)


def test_a_contributor_that_is_no_keyholder_has_no_answers_made_ahead(
    parted: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    begin = KeyholderPart.begin

    def noting(self: KeyholderPart, use: Any) -> None:
        begun.append(self._name)
        begin(self, use)

    monkeypatch.setattr(KeyholderPart, "begin", noting)
    federation = Federation(parted)
    federation.run(until=lambda running: len(running.board.rounds) == 2)
    assert sorted(set(begun)) == ["halland", "kronoberg", "university"]


@pytest.mark.parametrize("altered", [False, True])
def test_a_mere_keyholder_looks_at_frames_that_are_not_for_it_and_leaves_them(
    altered: bool, small_study: Study
) -> None:
    federation = Federation(small_study)

    def deliver(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> tuple[bytes, tuple[bytes, ...]]:
        if name == "university" and entry.message.body.kind == "answer":
            attachments = (b"another",) if altered else entry.attachments
        return entry.message.envelope, attachments

    federation.deliver = deliver
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == ("refusal" if altered else "result")
    if altered:
        assert federation.board.outcome.by == "university"
        assert "is not what" in federation.board.outcome.words


def test_a_reader_opens_nothing_that_was_made_for_another_label_than_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader without data, whose model would go on otherwise than those of all contributors."""

    def prepared(name: str, *args: object) -> Prepare:
        return lambda board: MadeUpWork(name, board, 40 if name == "university" else 41, 1)

    monkeypatch.setattr("tests.protocol.federation.taking_part", prepared)
    readers = 'readers = ["halland", "kronoberg", "orebro", "university"]'
    federation = Federation(study_file(tmp_path / "study.toml", more=readers))
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.words == (
        "round 1 was made for another label than university's own; nothing is opened"
    )
    assert federation.parties["university"].machine.reader.rounds_opened == 1
    assert set(federation.parties["university"].opened) == {0}


def test_a_known_answer_that_comes_out_wrong_ends_the_study_before_a_patients_number_is_sent(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypt = contributor_module.encrypt

    def otherwise(precision: Any, key: Any, label: Any, values: Any, *more: Any) -> bytes:
        """The program of orebro computes otherwise."""
        return encrypt(precision, key, label, values * (1 - 1e-6 if key.dealer == "orebro" else 1), *more)

    monkeypatch.setattr(contributor_module, "encrypt", otherwise)
    federation = Federation(small_study)
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.words.startswith("the known answer of round 0 came out wrong")
    assert [len(record.contributions) for record in federation.board.rounds if record.number] in ([], [0])


def test_who_was_not_given_a_rounds_sum_does_not_contribute_to_the_next(small_study: Study) -> None:
    federation = Federation(small_study)
    federation.deliver = lambda name, entry, attachments: (
        entry.message.envelope,
        () if name == "orebro" and entry.message.body.kind == "sum" else attachments,
    )
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.words == "orebro has not opened the round before round 1"


def test_a_reader_that_has_finished_takes_no_further_round(finished: Federation) -> None:
    reader = finished.parties["halland"].machine.reader
    with pytest.raises(EquivocationError, match="halland has finished the study, but a further round has begun"):
        reader.label()


# --- what it signs --------------------------------------------------------------------------------


def test_a_cohort_and_a_list_are_signed_only_with_ones_own_messages_in_them(small_study: Study) -> None:
    looked = []

    def look(running: Federation) -> bool:
        part = running.parties["orebro"].machine.contributor
        if running.board.phase is Phase.OPENING:
            packed = running.parties["orebro"].sent[f"contribution {running.board.round.number}"].attachments[0]
            assert part.check(packed).list == running.board.round.list_digest
            with pytest.raises(EquivocationError, match="what stands in the record as orebro's contribution is not"):
                part.check(packed[:-1] + bytes([packed[-1] ^ 1]))
            approval, deal = (running.parties["orebro"].sent[key].message.digest for key in ("approval", "deal"))
            assert part.sign_cohort(approval, deal).cohort == running.board.cohort.digest
            for digests in ((bytes(32), deal), (approval, bytes(32)), (deal, approval)):
                with pytest.raises(EquivocationError, match="does not hold what orebro approved and dealt"):
                    part.sign_cohort(*digests)
            looked.append(running.board.round.number)
        return len(looked) == 1

    Federation(small_study).run(until=look)
    assert looked == [0]


def keyholder_at(federation: Federation, name: str, phase: Phase, room: int) -> tuple[KeyholderPart, Ahead]:
    """A keyholder with its secrets, where the record of a study enters a phase."""
    board = Board(federation.roster, federation.submission.study)
    for entry in federation.log:
        board.post(entry.message)
        if board.phase is phase:
            break
    making = Ahead(room, least_values=1)
    return KeyholderPart(name, board, federation.parties[name].vault, making), making


def use_of(federation: Federation, values: int) -> SignedUse:
    study, cohort = federation.submission.study, federation.board.cohort.digest
    return SignedUse(study, cohort, PRECISE, 3, values, bytes(32))


def test_nothing_is_answered_before_every_contributor_has_signed_the_cohort(finished: Federation) -> None:
    part, making = keyholder_at(finished, "university", Phase.COHORT, ROOM)
    with pytest.raises(ProtocolError, match="not every contributor has signed the cohort; nothing will be opened"):
        part.begin(use_of(finished, 100))
    assert making._jobs == []


def test_a_length_that_somebody_states_makes_no_work_without_end(finished: Federation) -> None:
    """However much room there is, an answer above ROOM is not made ahead; what was begun before is dropped."""
    part, making = keyholder_at(finished, "university", Phase.CONTRIBUTION, 10**12)
    longest = ROOM * 8 // PRECISE.modulus_bits
    while PRECISE.packed_size(longest) > ROOM:
        longest -= 1
    part.begin(use_of(finished, 100))
    assert len(making._jobs) == 3
    part.begin(use_of(finished, longest + 64))
    assert making._jobs == []
    making.forget()


def test_frames_longer_than_kept_are_not_kept(
    small_study: Study, monkeypatch: pytest.MonkeyPatch, finished: Federation
) -> None:
    monkeypatch.setattr("hefed.protocol.reader.MOST_KEPT", PRECISE.packed_size(32) - 1)
    federation = _changed_in_round_3(Federation(small_study), lambda running: None)
    assert federation.parties["halland"].opened == {}
    assert set(finished.parties["halland"].opened) == set(range(len(finished.board.rounds) - 1))
    np.testing.assert_allclose(
        federation.finding().document["estimate"], finished.finding().document["estimate"], rtol=1e-9
    )


def test_what_a_keyholder_forgets_is_erased(finished: Federation) -> None:
    part, making = keyholder_at(finished, "university", Phase.CONTRIBUTION, ROOM)
    part.forget()  # before anything was made
    part.begin(use_of(finished, 40))
    keys = part._share_keys
    making.forget()
    part.forget()
    assert keys.subsets == ()
