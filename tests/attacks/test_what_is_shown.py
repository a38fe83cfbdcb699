"""What members are shown: other cohorts, fewer regions, a state, keys that are not their owner's, bytes in other forms.
Each attack stands beside the same with its defence off.
"""

import dataclasses
from pathlib import Path

import cbor2
import numpy as np
import pytest

from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.contexts import content_key_context, deal_context
from hefed.protocol.contributor import ContributorPart
from hefed.protocol.coordinator import Entry
from hefed.protocol.errors import EncodingError, ProtocolError, SignatureError
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Roster
from hefed.protocol.sealing import SealingKey
from hefed.study import Study
from tests.attacks.cheating import Frames, refusals, resign, signed, tamper, wider_study, words
from tests.attacks.conftest import Seen
from tests.protocol.federation import Federation

REGIONS = ("halland", "kronoberg", "orebro")

# --- Cohorts ------------------------------------------------------------------------------------------


def showing_orebro_fewer_keyholders(federation: Federation) -> None:
    """The aggregator proposes another cohort to orebro, and signs all its later messages to it anew."""
    last: list[bytes] = []

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        content = entry.message.content
        if name != "orebro" or entry.message.sender != "aggregator" or not (last or isinstance(content, m.Proposal)):
            return None
        if isinstance(content, m.Proposal):
            fewer = {name: digest for name, digest in content.acknowledgements.items() if name != "university"}
            content = m.Proposal(acknowledgements=fewer)
        previous = last[-1] if last else entry.message.body.previous
        message = signed(federation, "aggregator", content, previous, attachments)
        last.append(message.digest)
        return message.envelope, attachments

    tamper(federation, change)


def signed_cohorts(federation: Federation) -> set[bytes]:
    found = set()
    for party in federation.parties.values():
        if "cohort" in party.sent:
            content = party.sent["cohort"].message.content
            assert isinstance(content, m.CohortSignature)
            found.add(content.cohort)
    return found


def encrypted(federation: Federation) -> set[str]:
    return {key for party in federation.parties.values() for key in party.sent if key.startswith("contribution")}


def test_two_cohorts_in_one_study_are_signed_by_nobody_twice(small_study: Study) -> None:
    federation = Federation(small_study)
    showing_orebro_fewer_keyholders(federation)
    federation.run()
    assert len(signed_cohorts(federation)) == 2  # each contributor signed one
    assert any("was shown another cohort than the rest" in said for said in refusals(federation).values())
    assert not encrypted(federation)


def test_control_without_the_comparison_of_cohorts_all_encrypt_and_only_their_labels_differ(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cohort is part of the label, so that not even then anything would open."""

    def unchecked(self: Board, message: m.Message, content: m.CohortSignature) -> bool:
        self.cohort_signatures.add(message.sender)
        return self.cohort_signatures == set(self.study.contributors)

    monkeypatch.setattr(Board, "_on_cohort", unchecked)
    federation = Federation(small_study)
    showing_orebro_fewer_keyholders(federation)
    federation.run()
    assert len(signed_cohorts(federation)) == 2
    assert encrypted(federation) == {"contribution 0"}
    said = [*refusals(federation).values(), *(str(error) for _, error in federation.refused)]
    assert any("do not contribute to the same label in round 0" in one for one in said)


# --- One region less ----------------------------------------------------------------------------------


def test_a_study_with_one_region_less_is_another_study_and_no_approval_holds_for_it(tmp_path: Path) -> None:
    federation = Federation(wider_study(tmp_path, contributors=[*REGIONS, "skane"]))
    federation.run()
    definition = federation.submission.invitation.definition | {"contributors": list(REGIONS)}
    invitation = federation.submission.invitation.model_copy(update={"definition": definition})
    study = m.study_hash(invitation, "analyst")
    assert study != federation.submission.study
    asked = Board(federation.roster, study)
    asked.post(
        federation.signers["analyst"].sign(
            invitation, federation="test", study=study, sender="analyst", previous=m.ZERO_HASH
        )
    )
    assert asked.study.contributors == REGIONS
    for name in REGIONS:
        with pytest.raises(ProtocolError, match="belongs to another study"):
            asked.post(federation.parties[name].sent["approval"].message)
    again = Board(federation.roster, federation.submission.study)  # nor does it pass as the study that was approved
    with pytest.raises(ProtocolError, match="is not the study that it is sent as"):
        again.post(signed(federation, "analyst", invitation, m.ZERO_HASH))


def test_control_where_both_studies_are_approved_their_difference_is_one_regions_update(
    tmp_path: Path, seen: Seen
) -> None:
    """By definitions and numbers of rows a region sees it coming, and can refuse (`hefed/data/releases.py`)."""
    for regions in ([*REGIONS, "skane"], REGIONS):
        federation = Federation(wider_study(tmp_path, contributors=regions))
        federation.run()
        assert federation.finding().outcome == "result"
    rounds = len(seen.given["skane"])
    stolen = seen.opened["halland"][0] - seen.opened["halland"][rounds]
    np.testing.assert_allclose(stolen, seen.given["skane"][0], atol=1e-9)
    assert seen.given["skane"][0].any()


# --- A state ------------------------------------------------------------------------------------------


class WithState(m.Open):
    """What an aggregator would send that chooses the state."""

    state: list[float]


def test_there_is_no_place_for_a_state_in_what_the_aggregator_says(small_study: Study) -> None:
    """Names, numbers of rounds and hashes of what is in the record already; anything else has no form."""
    places = {kind: set(m.KINDS[kind].model_fields) for kind in ("dealing", "proposal", "open", "sum", "end")}
    assert places == {
        "dealing": {"approvals", "keyholders"},
        "proposal": {"acknowledgements"},
        "open": {"round", "attempt", "total", "keyholders"},
        "sum": {"round", "absent"},
        "end": {"words", "missing"},
    }
    federation = Federation(small_study)

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        content = entry.message.content
        if isinstance(content, m.Open) and content.round == 1 and name == "orebro":
            return resign(federation, entry, WithState(**content.model_dump(), state=[25.0, 0.0]))
        return None

    tamper(federation, change)
    federation.run()
    assert "does not have its form" in refusals(federation)["orebro"]


# --- A reading key ------------------------------------------------------------------------------------


def with_a_reading_key_of(attacker: SealingKey, federation: Federation) -> None:
    """The aggregator writes orebro's messages anew, the approval with a reading key of its own."""
    last = [m.ZERO_HASH]

    def before(name: str, outgoing: Outgoing) -> Outgoing:
        if name != "orebro":
            return outgoing
        content = outgoing.message.content
        if isinstance(content, m.Approval):
            content = content.model_copy(update={"reading_key": attacker.public})
        message = federation.signers["aggregator"].sign(
            content,
            federation="test",
            study=federation.submission.study,
            sender="orebro",
            previous=last[-1],
            attachments=outgoing.attachments,
        )
        last.append(message.digest)
        return Outgoing(outgoing.key, message, outgoing.attachments)

    federation.before_accept = before


def content_keys(attacker: SealingKey, federation: Federation) -> dict[str, bytes]:
    """Those that keyholders sealed to the key that stands for orebro's."""
    found = {}
    for name, message in federation.board.acknowledgements.items():
        content = message.content
        assert isinstance(content, m.Acknowledgement)
        context = content_key_context(federation.submission.study, name, "orebro")
        found[name] = attacker.open(content.content_keys["orebro"], context)
    return found


def test_a_reading_key_that_the_aggregator_put_in_has_not_its_owners_signature(small_study: Study) -> None:
    federation, attacker = Federation(small_study), SealingKey(SealingKey.new_secret())
    with_a_reading_key_of(attacker, federation)
    federation.run()
    assert [type(error) for _, error in federation.refused] == [SignatureError]
    assert "does not carry orebro's signature" in str(federation.refused[0][1])
    assert not federation.board.acknowledgements


@pytest.mark.parametrize("own_approval_is_looked_at", [True, False])
def test_control_without_signatures_the_aggregator_has_every_keyholders_content_key(
    own_approval_is_looked_at: bool, small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so would read every answer: the region whose approval it was still stops the study before the first round,
    unless it does not look at that either.
    """
    monkeypatch.setattr(m, "_require_signature", lambda *given: None)
    if not own_approval_is_looked_at:
        monkeypatch.setattr(
            ContributorPart,
            "sign_cohort",
            lambda self, approval, deal: m.CohortSignature(cohort=self._board.cohort.digest),
        )
    federation, attacker = Federation(small_study), SealingKey(SealingKey.new_secret())
    with_a_reading_key_of(attacker, federation)
    federation.run()
    right = {name: party.vault.secrets["content key"] for name, party in federation.parties.items()}
    assert content_keys(attacker, federation) == right
    assert bool(encrypted(federation)) is not own_approval_is_looked_at
    if own_approval_is_looked_at:
        assert "does not hold what orebro approved and dealt" in words(federation)


# --- A roster with a changed key ----------------------------------------------------------------------


def under_a_forged_roster(federation: Federation) -> SealingKey:
    """Orebro is given a roster in which halland's key is the attacker's, and then approves and deals with whom the
    attacker signs for. Returns the dealing key that the attacker put in halland's place.
    """
    attacker, dealing = m.Signer(bytes(range(32))), SealingKey(SealingKey.new_secret())
    members = [
        dataclasses.replace(member, identity=attacker.public) if member.name == "halland" else member
        for member in federation.roster.members
    ]
    honest = federation.roster
    federation.roster = Roster.of("test", 1, members)
    federation.start("orebro")
    federation.roster = honest
    forged: dict[str, bytes] = {}

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        content = entry.message.content
        if name != "orebro":
            return None
        if isinstance(content, m.Approval) and entry.message.sender == "halland":
            own = content.model_copy(update={"dealing_keys": dict.fromkeys(content.dealing_keys, dealing.public)})
            message = attacker.sign(
                own, federation="test", study=federation.submission.study, sender="halland", previous=m.ZERO_HASH
            )
            forged["halland"] = message.digest
            return message.envelope, ()
        if isinstance(content, m.Dealing):
            return resign(federation, entry, content.model_copy(update={"approvals": content.approvals | forged}))
        return None

    tamper(federation, change)
    return dealing


def test_a_study_is_refused_by_who_has_a_roster_with_a_changed_key(small_study: Study) -> None:
    federation = Federation(small_study)
    under_a_forged_roster(federation)
    federation.run()
    assert "was made for another version of the roster" in refusals(federation)["orebro"]
    assert set(federation.parties["orebro"].sent) == {"refusal"}


def test_control_where_the_study_is_not_bound_to_the_roster_seeds_go_to_the_forger(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Roster, "digest", property(lambda self: bytes(32)))
    federation = Federation(small_study)
    dealing = under_a_forged_roster(federation)
    federation.run()
    deal = federation.parties["orebro"].sent["deal"].message.content
    assert isinstance(deal, m.Deal)
    context = deal_context(federation.submission.study, "orebro", "halland")
    seeds = dealing.open(deal.sealed["halland"], context)
    assert len(seeds) == 3 * 32
    assert seeds[:32] in federation.parties["orebro"].vault.secrets["contributor key"]


# --- Bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("1 in two bytes", b"\x18\x01"),
        ("of indefinite length", b"\x9f\x01\xff"),
        ("keys out of order", b"\xa2\x61b\x01\x61a\x02"),
        ("one key twice", b"\xa2\x61a\x01\x61a\x02"),
        ("13 deep", b"\x81" * 13 + b"\x00"),
        ("a tag", b"\xc2\x41\x01"),
        ("70 thousand items", b"\x9a" + (70_000).to_bytes(4) + bytes(70_000)),
        ("200 thousand values", b"\x84" + (b"\x99\xc3\x50" + bytes(50_000)) * 4),
    ],
)
def test_cbor_that_another_reader_takes_is_refused(name: str, data: bytes) -> None:
    """The control is cbor2 by itself, for which each of them is a value."""
    assert cbor2.loads(data) is not None
    with pytest.raises(EncodingError):
        codec.decode(data)


def test_control_for_a_reader_that_takes_any_form_one_value_has_three_hashes() -> None:
    """So two regions could be shown one message with two digests."""
    right, *others = [b"\xa2\x61a\x01\x61b\x02", b"\xa2\x61b\x02\x61a\x01", b"\xbf\x61a\x01\x61b\x02\xff"]
    assert all(cbor2.loads(data) == {"a": 1, "b": 2} for data in (right, *others))
    assert codec.decode(right) == {"a": 1, "b": 2}
    for data in others:
        with pytest.raises(EncodingError):
            codec.decode(data)
