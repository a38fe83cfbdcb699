"""The board refuses every message that may not come, in words that name who is at fault, and stays as it was."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import EquivocationError, ProtocolError, RosterError
from hefed.protocol.messages import Message
from hefed.protocol.roster import NEWEST_FIRST, Roster
from hefed.protocol.rules import Phase
from tests.protocol.federation import Federation

KEYHOLDERS = ["halland", "kronoberg", "orebro", "university"]
REGIONS = ["halland", "kronoberg", "orebro"]


def signed(
    federation: Federation,
    board: Board,
    sender: str,
    content: m.Content,
    attachments: tuple[bytes, ...] = (),
    study: bytes | None = None,
) -> Message:
    """The sender's next message, as only it can make it."""
    return federation.signers[sender].sign(
        content,
        federation=federation.roster.federation,
        study=study or board.study_digest,
        sender=sender,
        previous=board.last_digest.get(sender, m.ZERO_HASH),
        attachments=attachments,
    )


def up_to(federation: Federation, kind: str, sender: str = "", number: int = 0) -> tuple[Board, Message]:
    """A board before the first message of that kind, sender and round, and that message."""
    board = Board(federation.roster, federation.submission.study)
    for entry in federation.log:
        message = entry.message
        is_it = (message.body.kind, getattr(message.content, "round", number)) == (kind, number)
        if is_it and sender in ("", message.sender):
            return board, message
        board.post(message)
    raise AssertionError(kind)


def refused(board: Board, message: Message, error: type[ProtocolError], words: str) -> None:
    """The message is refused in these words."""
    with pytest.raises(error, match=words):
        board.post(message)


def without(some: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in some.items() if other != name}


# --- one altered message in the place of an honest one --------------------------------------------

Change = Callable[[Any], dict[str, Any]]
ALTERED: list[tuple[str, str, int, Change, str]] = [
    # kind, sender, round, what is altered, in which words it is refused
    ("approval", "halland", 0, lambda c: {"commitment": None}, "the approval of halland does not have"),
    ("approval", "university", 0, lambda c: {"commitment": bytes(32)}, "the approval of university .* or has more"),
    ("approval", "orebro", 0, lambda c: {"dealing_keys": without(c.dealing_keys, "halland")}, "the approval of orebro"),
    ("approval", "kronoberg", 0, lambda c: {"reading_key": None}, "the approval of kronoberg does not have"),
    ("approval", "halland", 0, lambda c: {"reading_key": b"short"}, "the approval of halland has a public key of 5"),
    ("dealing", "", 0, lambda c: {"approvals": without(c.approvals, "halland")}, "the approvals that it names are not"),
    ("dealing", "", 0, lambda c: {"approvals": c.approvals | {"orebro": bytes(32)}}, "the approvals that it names"),
    ("dealing", "", 0, lambda c: {"approvals": c.approvals | {"analyst": bytes(32)}}, "the approvals that it names"),
    ("dealing", "", 0, lambda c: {"keyholders": KEYHOLDERS[::-1]}, "dealt to somebody who is no keyholder"),
    ("dealing", "", 0, lambda c: {"keyholders": [*KEYHOLDERS, "university"]}, "dealt to somebody who is no keyholder"),
    (
        "dealing", "", 0,
        lambda c: {"approvals": without(c.approvals, "university"), "keyholders": ["halland"]},
        "keys would be dealt to 1 keyholders, fewer than 2",
    ),
    ("deal", "halland", 0, lambda c: {"hashes": c.hashes[1:]}, "the deal of halland is not one for these keyholders"),
    ("deal", "orebro", 0, lambda c: {"sealed": without(c.sealed, "university")}, "the deal of orebro is not one"),
    ("acknowledgement", "university", 0, lambda c: {"deals": without(c.deals, "orebro")}, "the deals that it names"),
    ("acknowledgement", "university", 0, lambda c: {"deals": c.deals | {"orebro": bytes(32)}}, "the deals that it"),
    (
        "acknowledgement", "halland", 0,
        lambda c: {"content_keys": without(c.content_keys, "orebro")},
        "the acknowledgement of halland does not give its content key to each reader",
    ),
    (
        "proposal", "", 0,
        lambda c: {"acknowledgements": {"university": c.acknowledgements["university"]}},
        "the proposed cohort has fewer than 2 keyholders",
    ),
    (
        "proposal", "", 0,
        lambda c: {"acknowledgements": c.acknowledgements | {"university": bytes(32)}},
        "the acknowledgements that it names are not",
    ),
    ("cohort", "orebro", 0, lambda c: {"cohort": bytes(32)}, "orebro was shown another cohort than the rest"),
    ("contribution", "orebro", 2, lambda c: {"round": 1}, "the contribution of orebro is not one for round 2"),
    ("contribution", "orebro", 2, lambda c: {"values": c.values + 1}, "the contribution of orebro is not one for"),
    ("open", "", 2, lambda c: {"round": 1}, "opens a round that is not under way"),
    ("open", "", 2, lambda c: {"attempt": 2}, "opens a round that is not under way"),
    ("open", "", 2, lambda c: {"keyholders": ["halland"]}, "that are not in the cohort, or too few"),
    ("open", "", 2, lambda c: {"keyholders": ["halland", "analyst"]}, "that are not in the cohort, or too few"),
    ("check", "halland", 2, lambda c: {"list": bytes(32)}, "halland was shown another list of contributions in"),
    ("check", "halland", 2, lambda c: {"value": c.value[1:]}, "the check value of halland has a wrong length"),
    ("check", "halland", 2, lambda c: {"round": 3}, "'check' of halland is for a round that is not open yet"),
    ("answer", "university", 2, lambda c: {"round": 9}, "'answer' of university is for a round that is not open yet"),
    ("answer", "university", 2, lambda c: {"attempt": 2}, "university answers what it was not asked"),
    ("answer", "university", 2, lambda c: {"list": bytes(32)}, "university was shown another list of contributions"),
    ("sum", "", 2, lambda c: {"round": 1}, "the sum of round 2 does not come as it must"),
    ("sum", "", 2, lambda c: {"absent": ["halland"]}, "the sum of round 2 does not come as it must"),
]  # fmt: skip


def frames(federation: Federation, message: Message) -> tuple[bytes, ...]:
    """The attachments of a message of the record."""
    return next(entry.attachments for entry in federation.log if entry.message is message)


@pytest.mark.parametrize(
    ("kind", "sender", "number", "change", "words"),
    ALTERED,
    ids=[f"{i} {case[0]}" for i, case in enumerate(ALTERED)],
)
def test_an_altered_message_is_refused_and_the_honest_one_still_taken(
    kind: str, sender: str, number: int, change: Change, words: str, finished: Federation
) -> None:
    board, honest = up_to(finished, kind, sender, number)
    altered = honest.content.model_copy(update=change(honest.content))
    refused(board, signed(finished, board, honest.sender, altered, frames(finished, honest)), ProtocolError, words)
    board.post(honest)
    assert board.last_digest[honest.sender] == honest.digest


@pytest.mark.parametrize(
    ("kind", "sender", "words"),
    [
        ("contribution", "halland", "the contribution of halland is not one for round 2"),
        ("answer", "university", "university answers what it was not asked"),
        ("sum", "aggregator", "the sum of round 2 does not come as it must"),
    ],
)
@pytest.mark.parametrize("more", [(), (b"two", b"frames")])
def test_too_few_or_too_many_frames_are_refused(
    kind: str, sender: str, words: str, more: tuple[bytes, ...], finished: Federation
) -> None:
    board, honest = up_to(finished, kind, sender, 2)
    refused(board, signed(finished, board, sender, honest.content, more), ProtocolError, words)
    board.post(honest)


# --- at the wrong time, or in the wrong study -----------------------------------------------------


def test_nothing_comes_before_the_invitation(finished: Federation) -> None:
    board = Board(finished.roster, finished.submission.study)
    for kind in ("approval", "dealing"):
        _, message = up_to(finished, kind)
        early = signed(finished, board, message.sender, message.content)
        refused(board, early, ProtocolError, f"'{kind}' of {message.sender} came before the study's invitation")
    assert board.phase is Phase.INVITATION
    assert board.missing() == ()


def test_a_message_of_another_study_is_refused(finished: Federation) -> None:
    board, honest = up_to(finished, "approval")
    other = signed(finished, board, honest.sender, honest.content, study=bytes(32))
    refused(board, other, ProtocolError, f"a message of {honest.sender} belongs to another study")
    board.post(honest)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"roster": bytes(32)},
            f"made for another version of the roster of test than version 1; {re.escape(NEWEST_FIRST)}$",
        ),
        ({"definition": {}}, "study"),
    ],
)
def test_an_invitation_for_another_roster_or_to_no_study_is_refused(
    changed: dict[str, Any], words: str, finished: Federation
) -> None:
    invitation = finished.submission.invitation.model_copy(update=changed)
    board = Board(finished.roster, m.study_hash(invitation, "analyst"))
    with pytest.raises(ProtocolError, match=words):
        board.post(signed(finished, board, "analyst", invitation))
    assert board.phase is Phase.INVITATION


def test_what_the_record_does_not_tell_yet_is_said_to_be_missing(finished: Federation) -> None:
    board, _ = up_to(finished, "dealing")
    for name in ("dealt_keyholders", "subsets", "precision"):
        with pytest.raises(ProtocolError, match="nothing has been dealt yet"):
            getattr(board, name)
    board, proposal = up_to(finished, "proposal")
    for name in ("cohort_keyholders", "cohort"):
        with pytest.raises(ProtocolError, match="no cohort has been proposed yet"):
            getattr(board, name)
    board.post(proposal)
    assert board.cohort.digest == finished.board.cohort.digest
    assert board.cohort_keyholders == tuple(KEYHOLDERS)


def test_who_was_dealt_nothing_acknowledges_nothing(finished: Federation) -> None:
    """A keyholder that the aggregator left out when keys were dealt."""
    board, honest = up_to(finished, "dealing")
    content = honest.content
    assert isinstance(content, m.Dealing)
    fewer = m.Dealing(approvals=without(content.approvals, "university"), keyholders=REGIONS)
    board.post(signed(finished, board, "aggregator", fewer))
    for name in REGIONS:
        deal = m.Deal(hashes=[bytes(32)] * 3, sealed=dict.fromkeys(REGIONS, b""))
        board.post(signed(finished, board, name, deal))
    deals = {name: board.deals[name].digest for name in REGIONS}
    content_keys = dict.fromkeys(REGIONS, b"")
    said = m.Acknowledgement(deals=deals, content_keys=content_keys)
    refused(
        board,
        signed(finished, board, "university", said),
        ProtocolError,
        "university acknowledges deals that it was not part of",
    )
    board.post(signed(finished, board, "orebro", said))
    assert set(board.acknowledgements) == {"orebro"}


def test_a_check_in_a_round_that_is_not_open_yet_is_refused(finished: Federation) -> None:
    """Late messages are taken, but not early ones."""
    board, _ = up_to(finished, "contribution", number=2)
    assert board.phase is Phase.CONTRIBUTION
    early = m.Check(round=2, list=bytes(32), value=bytes(24))
    refused(board, signed(finished, board, "halland", early), ProtocolError, "for a round that is not open yet")


def test_beside_an_answer_something_is_kept_once_and_only_until_its_sum(finished: Federation) -> None:
    board, message = up_to(finished, "answer", number=1)
    content = message.content
    assert isinstance(content, m.Answer)

    def keeps(sent: bytes = b"an answer", **changed: Any) -> bool:
        return board.keeps_attachments(
            signed(finished, board, message.sender, content.model_copy(update=changed), (sent,))
        )

    assert board.keeps_attachments(message)
    assert keeps(list=bytes(32))  # evidence
    assert [keeps(attempt=2), keeps(round=0), keeps(round=2), keeps(bytes(10**6))] == [False] * 4
    board.post(message)
    assert not keeps()
    board, after = up_to(finished, "contribution", number=2)
    assert board.rounds[1].sum is not None
    assert not board.keeps_attachments(message)
    assert not board.keeps_attachments(after)


def test_beside_a_sum_something_is_kept_where_it_is_waited_for(finished: Federation) -> None:
    board, message = up_to(finished, "sum", number=1)
    content, size = message.content, message.body.attachments[0].size

    def keeps(sent: bytes, **changed: Any) -> bool:
        return board.keeps_attachments(
            signed(finished, board, message.sender, content.model_copy(update=changed), (sent,))
        )

    assert board.keeps_attachments(message)
    assert keeps(bytes(size))  # another sum than was named: evidence
    assert [keeps(bytes(size + 1)), keeps(bytes(size), round=2), keeps(bytes(size), absent=["halland"])] == [False] * 3
    assert not board.keeps_attachments(up_to(finished, "check", number=1)[1])
    board, _ = up_to(finished, "approval")
    assert not board.keeps_attachments(message)


def test_another_sum_at_a_second_attempt_is_refused(finished: Federation) -> None:
    board, honest = up_to(finished, "open", number=2)
    board.post(honest)
    content = honest.content
    assert isinstance(content, m.Open)
    again = content.model_copy(update={"attempt": 2, "keyholders": KEYHOLDERS[:2]})
    other = again.model_copy(update={"total": bytes(32)})
    words = "would have another sum opened in round 2 than it said first"
    refused(board, signed(finished, board, "aggregator", other), EquivocationError, words)
    board.post(signed(finished, board, "aggregator", again))
    assert [one.keyholders for one in board.round.opens] == [KEYHOLDERS, KEYHOLDERS[:2]]
    # Who is not asked again does not answer again.
    early = m.Answer(round=2, attempt=2, list=board.round.list_digest)
    said = signed(finished, board, "orebro", early, (b"answer",))
    refused(board, said, ProtocolError, "orebro answers what it was not asked")


def test_a_study_with_somebody_in_a_role_that_the_roster_does_not_give_is_refused(finished: Federation) -> None:
    """And with somebody whom the roster does not know at all."""
    lesser = [
        replace(member, roles=("contributor", "keyholder")) if member.name == "orebro" else member
        for member in finished.roster.members
    ]
    fewer = [member for member in finished.roster.members if member.name != "orebro"]
    for members, words in (
        (lesser, "'orebro' is on the roster of test, but not as a reader"),
        (fewer, r"'orebro' is not on the roster of test \(version 1\)"),
    ):
        roster = Roster.of("test", 1, members)
        invitation = finished.submission.invitation.model_copy(update={"roster": roster.digest})
        board = Board(roster, m.study_hash(invitation, "analyst"))
        refused(board, signed(finished, board, "analyst", invitation), RosterError, words)
        assert not hasattr(board, "study")


# --- The end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"last": bytes(32)}, {"decisions": bytes(32)}, {"outcome": "error"}])
def test_readers_that_close_a_study_differently_are_named(changed: dict[str, Any], finished: Federation) -> None:
    board, first = up_to(finished, "closing")
    board.post(first)
    second = next(name for name in REGIONS if name != first.sender)
    other = first.content.model_copy(update=changed)
    words = f"{second} and {first.sender} do not close the study with the same sums and decisions"
    refused(board, signed(finished, board, second, other), EquivocationError, words)
    assert board.missing() == tuple(name for name in REGIONS if name != first.sender)
    assert board.outcome is None


def test_who_closed_the_study_contributes_no_more(finished: Federation) -> None:
    _, contribution = up_to(finished, "contribution")
    board, first = up_to(finished, "closing")
    board.post(first)
    more = contribution.content.model_copy(update={"round": board.round.number})
    said = signed(finished, board, first.sender, more)
    refused(board, said, EquivocationError, f"{first.sender} closed the study and contributes all the same")
