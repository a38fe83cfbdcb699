"""The audit accepts honest transcripts, and names who broke a rule first."""

from collections.abc import Callable
from typing import Any

import pytest

from hefed.crypto.contribution import check_value
from hefed.crypto.parameters import PROFILES
from hefed.protocol import messages as m
from hefed.protocol.audit import Finding, StudyAudit, unfinished
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Entry
from hefed.protocol.ports import Outgoing
from hefed.study import Study
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation
from tests.protocol.late import after_the_sum
from tests.protocol.transcripts import AGGREGATOR, audited, written

REGIONS = ("halland", "kronoberg", "orebro")


def only(found: StudyAudit) -> Finding:
    """The one finding."""
    (finding,) = found.findings
    return finding


def signed(federation: Federation, sender: str, content: m.Content, previous: bytes, *attachments: bytes) -> Entry:
    """A message as only its sender can make it."""
    message = federation.signers[sender].sign(
        content,
        federation=federation.roster.federation,
        study=federation.submission.study,
        sender=sender,
        previous=previous,
        attachments=attachments,
    )
    return Entry(message, attachments)


def place(entries: list[Entry], kind: str, number: int = 0, sender: str = "") -> int:
    """Where in the record the message of that kind, round and sender is."""
    return next(
        i
        for i, entry in enumerate(entries)
        if entry.message.body.kind == kind
        and getattr(entry.message.content, "round", number) == number
        and sender in ("", entry.message.sender)
    )


def flipped(packed: bytes) -> bytes:
    """Another vector of the same form."""
    return bytes([packed[0] ^ 1]) + packed[1:]


# --- honest ---------------------------------------------------------------------------------------


def test_transcripts_of_all_parties_are_well(finished: Federation) -> None:
    found = audited(*(written(finished, name) for name in (AGGREGATOR, *finished.study.members)))
    assert found.findings == []
    assert [one.party for one in found.replayed] == [AGGREGATOR, *finished.study.members]
    assert {one.format for one in found.replayed} == {"hefed/1 transcript"}
    assert all(one.whole and one.unrecorded == () for one in found.replayed)
    assert unfinished(found.board) is None
    sums = [entry for entry in finished.log if entry.message.body.kind == "sum"]
    assert [release.round for release in found.releases] == list(range(len(sums)))
    for release in found.releases:
        assert release.contributors == REGIONS
        assert release.readers == REGIONS
        assert set(release.keyholders) == {*REGIONS, "university"}
        assert release.verified == "added"
        assert release.checked_again == REGIONS


def test_one_region_alone_sees_by_the_check_values_that_a_sum_is_right(finished: Federation) -> None:
    found = audited(written(finished, "halland"))
    assert found.findings == []
    assert {release.verified for release in found.releases} == {"checks"}


def test_a_study_under_way_is_well_and_says_what_it_waits_for(finished: Federation) -> None:
    end = place(finished.log, "open", 1)
    found = audited(written(finished, "orebro", finished.log[:end]), written(finished, AGGREGATOR))
    assert found.findings == []
    early = audited(written(finished, "orebro", finished.log[:end]))
    assert unfinished(early.board) == "it stands in phase contribution and waits for nobody"
    assert unfinished(audited(written(finished, "orebro", [])).board) == "its invitation is not in the record"


def test_a_message_that_never_came_back_is_shown(finished: Federation) -> None:
    last = place(finished.log, "contribution", 1, "halland")
    found = audited(written(finished, "halland", finished.log[:last], unrecorded=[finished.log[last].message]))
    assert found.findings == []
    assert [message.body.kind for message in found.replayed[0].unrecorded] == ["contribution"]


def test_an_answer_and_a_check_value_after_the_sum_break_no_rule(small_study: Study) -> None:
    federation, held = after_the_sum(small_study)
    late = [*held["university"], *held["kronoberg"]]
    federation.run([entry for one in late for entry in federation._accept(one.message.sender, one)])
    found = audited(written(federation, AGGREGATOR), written(federation, "halland"))
    assert found.findings == []
    assert ["university" in release.keyholders for release in found.releases[:3]] == [True, False, True]
    assert [release.checked_again for release in found.releases[:2]] == [REGIONS, ("halland", "orebro")]


@pytest.mark.parametrize(("name", "more"), [("university", (b"other bytes",)), ("kronoberg", ())])
def test_who_answers_or_checks_a_second_time_after_the_sum_is_named(
    name: str, more: tuple[bytes, ...], small_study: Study
) -> None:
    federation, held = after_the_sum(small_study)
    late = held[name][0].message
    again = signed(federation, name, late.content, late.digest, *more)
    finding = only(audited(written(federation, AGGREGATOR, [*federation.log, Entry(late), Entry(again.message)])))
    assert (finding.rule, finding.party) == ("message", name)
    assert finding.words == f"a second '{late.body.kind}' of {name}"


# --- what an aggregator can try -------------------------------------------------------------------


def lying(study: Study, *, helper: str = "") -> Federation:
    """The aggregator alters the sum of round 1; a contributor that helps it signs the check value that hides it."""
    federation = Federation(study)
    honest = federation.coordinator._say

    def say(content: m.Content, attachments: tuple[bytes, ...], now: float) -> Entry:
        if isinstance(content, m.Open) and content.round == 1:
            federation.coordinator._total = flipped(federation.coordinator._packed_sum())
            content = content.model_copy(update={"total": m.Attachment.of(federation.coordinator._total).sha256})
        return honest(content, attachments, now)

    def help_out(name: str, outgoing: Outgoing) -> Outgoing:
        content: Any = outgoing.message.content
        if name != helper or content.kind != "check" or content.round != 1:
            return outgoing
        value = helped(federation, helper, content)
        body = outgoing.message.body
        entry = signed(federation, helper, content.model_copy(update={"value": value}), body.previous)
        return Outgoing(outgoing.key, entry.message, ())

    federation.coordinator._say = say  # type: ignore[method-assign]
    federation.before_accept = help_out
    federation.run()
    return federation


def helped(federation: Federation, helper: str, check: m.Check) -> bytes:
    """The check value that makes all of them add up to that of the altered sum."""
    import numpy as np

    profile = PROFILES[federation.study.security.profile]
    record = federation.coordinator.board.rounds[1]
    primes = np.array(profile.primes, np.uint64)

    def value(packed: bytes) -> Any:
        found = check_value(profile, packed, record.first.values, check.list)
        return np.frombuffer(found, "<u8").reshape(-1, len(primes))

    contributions = {
        entry.message.sender: entry.attachments[0]
        for entry in federation.log
        if entry.message.body.kind == "contribution" and entry.message.content.round == 1  # type: ignore[attr-defined]
    }
    total = federation.coordinator._total
    assert total is not None
    right = value(total)
    for name, packed in contributions.items():
        if name != helper:
            right = (right + primes - value(packed)) % primes
    return bytes(right.astype("<u8").tobytes())


def test_a_sum_that_the_aggregator_altered_is_its_fault(small_study: Study) -> None:
    federation = lying(small_study)
    found = audited(written(federation, AGGREGATOR))
    assert (only(found).rule, only(found).party) == ("sum", AGGREGATOR)
    assert "is not that of the contributions" in only(found).words


def test_without_contributions_the_check_values_show_it(small_study: Study) -> None:
    federation = lying(small_study)
    found = audited(written(federation, "halland"))
    assert [finding.rule for finding in found.findings] == ["sum"]
    assert only(found).party == f"{AGGREGATOR} or halland or kronoberg or orebro"  # or somebody's false check value


def test_a_contributor_that_helps_the_aggregator_to_alter_a_sum_is_named(small_study: Study) -> None:
    federation = lying(small_study, helper="halland")
    readers_notice = [party.sent.get("refusal") for party in federation.parties.values()]
    assert all(refusal is None or "check values" not in str(refusal.message.content) for refusal in readers_notice)
    found = audited(written(federation, AGGREGATOR))
    assert [(finding.rule, finding.party) for finding in found.findings] == [
        ("sum", AGGREGATOR),
        ("check value", "halland"),
    ]
    assert audited(written(federation, "orebro")).findings == []  # why the aggregator's transcript is asked for


def test_different_records_shown_to_two_regions_are_the_aggregators_fault(finished: Federation) -> None:
    first = place(finished.log, "contribution", 1)
    swapped = [*finished.log[:first], finished.log[first + 1], finished.log[first]]
    found = audited(written(finished, "halland"), written(finished, "orebro", swapped))
    assert (only(found).rule, only(found).party) == ("relay", f"{AGGREGATOR} or halland or orebro")
    found = audited(written(finished, AGGREGATOR), written(finished, "orebro", swapped))
    assert only(found).party == f"{AGGREGATOR} or orebro"


def test_a_message_left_out_is_found_where_the_next_one_stands(finished: Federation) -> None:
    left_out = place(finished.log, "contribution", 1, "halland")
    entries = [entry for i, entry in enumerate(finished.log) if i != left_out]
    for party, named in ((AGGREGATOR, AGGREGATOR), ("orebro", f"{AGGREGATOR} or orebro")):  # not halland
        finding = only(audited(written(finished, party, entries)))
        assert (finding.rule, finding.party) == ("message", named)


def test_who_says_other_than_the_rest_may_have_been_shown_other_things(finished: Federation) -> None:
    at = place(finished.log, "check", 1, "orebro")
    other = finished.log[at].message.content.model_copy(update={"list": bytes(32)})
    said = signed(finished, "orebro", other, finished.log[at].message.body.previous)
    finding = only(audited(written(finished, AGGREGATOR, [*finished.log[:at], said])))
    assert (finding.rule, finding.party) == (
        "message",
        f"orebro or {AGGREGATOR}",
    )  # and it is the aggregator's own transcript


def test_a_message_that_only_another_may_send_is_its_signers_fault(finished: Federation) -> None:
    at = place(finished.log, "open", 1)
    last = next(entry.message.digest for entry in reversed(finished.log[:at]) if entry.message.sender == "halland")
    said = signed(finished, "halland", finished.log[at].message.content, last)
    finding = only(audited(written(finished, AGGREGATOR, [*finished.log[:at], said])))
    assert (finding.rule, finding.party) == ("message", "halland")


def test_a_second_answer_to_one_question_is_its_signers_fault(finished: Federation) -> None:
    at = place(finished.log, "check", 1, "orebro")
    said = signed(finished, "orebro", finished.log[at].message.content, finished.log[at].message.digest)
    finding = only(audited(written(finished, AGGREGATOR, [*finished.log[: at + 1], said])))
    assert (finding.rule, finding.party) == ("message", "orebro")


def test_a_round_closed_with_too_few_answers_is_the_aggregators_fault(finished: Federation) -> None:
    first, last = place(finished.log, "open", 0), place(finished.log, "sum", 0)
    checks = [entry for entry in finished.log[first:last] if entry.message.body.kind == "check"]
    answer = finished.log[place(finished.log, "answer", 0, "university")]
    entries = [*finished.log[: first + 1], *checks, answer, finished.log[last]]
    finding = only(audited(written(finished, AGGREGATOR, entries)))
    assert (finding.rule, finding.party) == ("message", AGGREGATOR)
    assert "too few answers" in finding.words


def test_a_malformed_contribution_that_the_aggregator_took_is_found(finished: Federation) -> None:
    at = place(finished.log, "contribution", 1)
    honest = finished.log[at]
    bad = b"\xff" * (len(honest.attachments[0]) - 1) + b"\0"
    forged = signed(finished, honest.message.sender, honest.message.content, honest.message.body.previous, bad)
    finding = only(audited(written(finished, AGGREGATOR, [*finished.log[:at], forged])))
    assert (finding.rule, finding.party) == ("message", honest.message.sender)
    assert "malformed" in finding.words


def test_a_check_value_of_a_malformed_contribution_is_no_second_fault(finished: Federation) -> None:
    """Its signer is named once, and what follows in the record is read on."""
    at = place(finished.log, "open", 1)
    honest = finished.log[at - 1]  # the last contribution of the round
    forger, rest = honest.message.sender, finished.log[: at - 1]
    bad = b"\xff" * (len(honest.attachments[0]) - 1) + b"\0"
    forged = signed(finished, forger, honest.message.content, honest.message.body.previous, bad)
    asked = finished.log[at].message
    opening = signed(finished, AGGREGATOR, asked.content, asked.body.previous)
    board = Board(finished.roster, finished.submission.study)
    for entry in (*rest, forged, opening):
        board.post(entry.message)
    said = m.Check(round=1, list=board.round.list_digest, value=bytes(48))
    check = signed(finished, forger, said, forged.message.digest)
    end = m.End(words="over", missing=[])
    over = signed(finished, AGGREGATOR, end, opening.message.digest)
    found = audited(written(finished, AGGREGATOR, [*rest, forged, opening, check, over]))
    assert [(finding.rule, finding.party) for finding in found.findings] == [("message", forger)]
    assert "malformed" in only(found).words


# --- what a member can try ------------------------------------------------------------------------


def test_two_messages_for_one_place_name_their_signer(finished: Federation) -> None:
    at = place(finished.log, "contribution", 1, "kronoberg")
    honest = finished.log[at]
    other = signed(
        finished,
        "kronoberg",
        honest.message.content,
        honest.message.body.previous,
        flipped(honest.attachments[0]),
    )
    found = audited(written(finished, AGGREGATOR), written(finished, "halland", [*finished.log[:at], other]))
    assert [(finding.rule, finding.party) for finding in found.findings] == [
        ("relay", f"{AGGREGATOR} or halland"),
        ("signature", "kronoberg"),
    ]


def test_a_second_contribution_under_one_label_is_found(finished: Federation) -> None:
    first, second = place(finished.log, "contribution", 1), place(finished.log, "contribution", 2)
    label = finished.log[first].message.content.label  # type: ignore[attr-defined]
    honest = finished.log[second].message
    again = signed(
        finished,
        honest.sender,
        honest.content.model_copy(update={"label": label}),
        honest.body.previous,
        *finished.log[second].attachments,
    )
    finding = only(audited(written(finished, AGGREGATOR, [*finished.log[:second], again])))
    assert (finding.rule, finding.party) == ("label", honest.sender)


@pytest.mark.parametrize("whose", ["of another", "out of order"])
def test_what_a_party_puts_beside_its_record_must_be_its_own_and_in_order(finished: Federation, whose: str) -> None:
    last = place(finished.log, "contribution", 1, "halland")
    sender = "orebro" if whose == "of another" else "halland"
    later = finished.log[place(finished.log, "check", 1, sender)].message
    finding = only(audited(written(finished, "halland", finished.log[:last], unrecorded=[later])))
    assert (finding.rule, finding.party) == ("signature", "halland")


def test_an_altered_attachment_is_the_fault_of_whose_transcript_it_is(finished: Federation) -> None:
    at = place(finished.log, "contribution", 1)
    honest = finished.log[at]
    altered = Entry(honest.message, (flipped(honest.attachments[0]),))
    finding = only(audited(written(finished, AGGREGATOR, [*finished.log[:at], altered])))
    assert (finding.rule, finding.party) == ("transcript", AGGREGATOR)


def test_a_record_under_another_roster_is_the_fault_of_whoever_shows_it(finished: Federation) -> None:
    renamed = finished.roster.of("test", 2, finished.roster.members)
    found = audited(written(finished, "halland"), written(finished, "orebro", roster=renamed))
    assert (only(found).rule, only(found).party) == ("message", "orebro")
    assert "under another roster" in only(found).words


def test_a_message_of_another_study_is_the_fault_of_whoever_shows_it(finished: Federation) -> None:
    message = finished.signers["halland"].sign(
        m.Refusal(words="another study's"), federation="test", study=bytes(32), sender="halland", previous=m.ZERO_HASH
    )
    at = place(finished.log, "approval", sender="halland")
    found = audited(written(finished, "orebro", [*finished.log[:at], Entry(message)]), written(finished, "halland"))
    assert [(finding.rule, finding.party) for finding in found.findings] == [("message", "orebro")]


def test_a_file_that_nobody_signed_frames_nobody(finished: Federation) -> None:
    invented = bytearray(written(finished, "halland", list(reversed(finished.log)), signer=finished.signers["orebro"]))
    honest = [written(finished, name) for name in (AGGREGATOR, "kronoberg")]
    found = audited(bytes(invented), *honest)
    assert [(finding.rule, finding.party) for finding in found.findings] == [("transcript", "whoever handed in file 0")]
    assert found.board.outcome is not None  # what others show still counts
    first = place(finished.log, "contribution", 1)
    swapped = [*finished.log[:first], finished.log[first + 1], finished.log[first]]
    found = audited(bytes(invented), honest[0], written(finished, "orebro", swapped))
    assert ("relay", f"{AGGREGATOR} or orebro") in [(one.rule, one.party) for one in found.findings]


def test_a_question_that_was_hidden_frames_no_keyholder(finished: Federation) -> None:
    at = place(finished.log, "answer", 1, "orebro")
    content = finished.log[at].message.content.model_copy(update={"attempt": 2})
    said = signed(finished, "orebro", content, finished.log[at].message.body.previous, *finished.log[at].attachments)
    finding = only(audited(written(finished, "halland", [*finished.log[:at], said])))
    assert (finding.rule, finding.party) == ("message", f"orebro or {AGGREGATOR} or halland")


def test_a_refusal_after_what_the_aggregator_held_back_frames_nobody(finished: Federation) -> None:
    """The record breaks a rule, then comes halland's own check, and its refusal never comes back."""
    opening, check = place(finished.log, "open", 1), place(finished.log, "check", 1, "halland")
    bad = finished.log[opening].message.content.model_copy(update={"keyholders": []})
    entries = [
        *finished.log[:opening],
        signed(finished, AGGREGATOR, bad, finished.log[opening].message.body.previous),
        finished.log[check],
    ]
    refusal = signed(finished, "halland", m.Refusal(words="no"), finished.log[check].message.digest).message
    finding = only(audited(written(finished, "halland", entries, unrecorded=[refusal])))
    assert (finding.rule, finding.party) == ("message", f"{AGGREGATOR} or halland")


def test_a_second_vector_under_a_label_is_found_beside_the_record_too(finished: Federation) -> None:
    last = place(finished.log, "contribution", 1, "halland")
    again = signed(
        finished,
        "halland",
        finished.log[last].message.content,
        finished.log[last].message.digest,
        flipped(finished.log[last].attachments[0]),
    ).message
    finding = only(audited(written(finished, "halland", finished.log[: last + 1], unrecorded=[again])))
    assert (finding.rule, finding.party) == ("label", "halland")


@pytest.mark.parametrize("kind", ["answer", "sum"])
def test_every_attachment_that_is_kept_is_the_signed_one(kind: str, finished: Federation) -> None:
    at = place(finished.log, kind, 1)
    honest = finished.log[at]
    altered = Entry(honest.message, (flipped(honest.attachments[0]), *honest.attachments[1:]))
    finding = only(audited(written(finished, "halland", [*finished.log[:at], altered])))
    assert (finding.rule, finding.party) == ("transcript", "halland")


def test_the_audit_of_two_studies_keeps_them_apart(finished: Federation, tmp_path_factory: Any) -> None:
    from io import BytesIO

    from hefed.protocol.audit import audit
    from hefed.protocol.transcript import TranscriptReader

    path = tmp_path_factory.mktemp("second") / "study.toml"
    second = Federation(study_file(path, university=False))
    second.run()
    transcripts: list[tuple[str, Callable[[], bytes]]] = [
        ("first", lambda: written(finished, AGGREGATOR)),
        ("second", lambda: written(second, AGGREGATOR)),
    ]
    found = audit((name, TranscriptReader(BytesIO(make()))) for name, make in transcripts)
    assert [one.study for one in found] == [finished.submission.study, second.submission.study]
    assert not any(one.findings for one in found)


def test_a_message_that_its_sender_did_not_sign_is_the_fault_of_whoever_signed_the_transcript(
    finished: Federation,
) -> None:
    at = place(finished.log, "contribution", 1, "halland")
    honest = finished.log[at].message
    forged = m.Message(honest.body, honest.content, honest.envelope[:-1] + bytes([honest.envelope[-1] ^ 1]), b"")
    finding = only(audited(written(finished, "orebro", [*finished.log[:at], Entry(forged)])))
    assert (finding.rule, finding.party) == ("transcript", "orebro")


def test_where_a_message_stands_is_up_to_the_aggregator_and_to_whoever_shows_it(finished: Federation) -> None:
    left_out = place(finished.log, "deal", sender="halland")
    entries = [entry for i, entry in enumerate(finished.log) if i != left_out]
    for party, named in ((AGGREGATOR, AGGREGATOR), ("orebro", f"{AGGREGATOR} or orebro")):
        finding = only(audited(written(finished, party, entries)))
        assert (finding.rule, finding.party) == ("message", named)
