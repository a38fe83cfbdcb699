"""What everybody MUST refuse, as the pages have it: a message with one thing wrong. Nothing changes by that: the right
message is taken after it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import Roster
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation

Changes = Callable[[Any], dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A federation that has finished a study. Look, do not touch."""
    federation = Federation(study_file(tmp_path_factory.mktemp("checks") / "study.toml"))
    federation.run()
    return federation


def less(items: dict[str, Any]) -> dict[str, Any]:
    """All but the last."""
    return dict(list(items.items())[:-1])


def other(digests: dict[str, bytes]) -> dict[str, bytes]:
    """Another digest for the last."""
    return {**digests, list(digests)[-1]: bytes(32)}


NEEDS = "does not have what its part in the study needs, or has more"
APPROVALS = "the approvals that it names are not the ones that are known here"
KEYHOLDERS = "keys dealt to somebody who is no keyholder of the study"
DEAL = "is not one for these keyholders and this threshold"
ASKED = "keyholders that are not in the cohort, or too few"
ROUND = "opens a round that is not under way"
SUM = "does not come as it must"
LIST = "was shown another list of contributions"

CASES: tuple[tuple[str, Changes, str], ...] = (
    ("approval", lambda c: {"commitment": None}, NEEDS),
    ("approval", lambda c: {"dealing_keys": less(c.dealing_keys)}, NEEDS),
    ("approval", lambda c: {"dealing_keys": {**c.dealing_keys, "university": c.reading_key}}, NEEDS),
    ("approval", lambda c: {"reading_key": None}, NEEDS),
    ("dealing", lambda c: {"approvals": other(c.approvals)}, APPROVALS),
    ("dealing", lambda c: {"approvals": less(c.approvals)}, APPROVALS),
    ("dealing", lambda c: {"keyholders": [*c.keyholders, "stranger"]}, APPROVALS),
    ("dealing", lambda c: {"keyholders": c.keyholders[::-1]}, KEYHOLDERS),
    ("dealing", lambda c: {"keyholders": sorted([*c.keyholders, "halland"])}, KEYHOLDERS),
    ("dealing", lambda c: {"keyholders": ["halland"], "approvals": less(c.approvals)}, "fewer than 2"),
    ("deal", lambda c: {"hashes": c.hashes[:-1]}, DEAL),
    ("deal", lambda c: {"sealed": less(c.sealed)}, DEAL),
    ("deal", lambda c: {"sealed": {**c.sealed, "stranger": b""}}, DEAL),
    ("acknowledgement", lambda c: {"deals": other(c.deals)}, "the deals that it names are not"),
    ("acknowledgement", lambda c: {"deals": less(c.deals)}, "the deals that it names are not"),
    ("acknowledgement", lambda c: {"content_keys": less(c.content_keys)}, "its content key to each reader"),
    ("proposal", lambda c: {"acknowledgements": other(c.acknowledgements)}, "the acknowledgements that it names are"),
    ("proposal", lambda c: {"acknowledgements": dict([*c.acknowledgements.items()][:1])}, "fewer than 2 keyholders"),
    ("cohort", lambda c: {"cohort": bytes(32)}, "was shown another cohort"),
    ("contribution", lambda c: {"round": c.round + 1}, "is not one for round"),
    ("contribution", lambda c: {"values": c.values + 1}, "is not one for round"),
    ("open", lambda c: {"round": c.round + 1}, ROUND),
    ("open", lambda c: {"attempt": 2}, ROUND),
    ("open", lambda c: {"keyholders": c.keyholders[::-1]}, ASKED),
    ("open", lambda c: {"keyholders": c.keyholders[:1]}, ASKED),
    ("open", lambda c: {"keyholders": [*c.keyholders, "stranger"]}, ASKED),
    ("check", lambda c: {"list": bytes(32)}, LIST),
    ("check", lambda c: {"value": c.value[:-8]}, "has a wrong length"),
    ("check", lambda c: {"round": c.round + 1}, "is for a round that is not open yet"),
    ("answer", lambda c: {"list": bytes(32)}, LIST),
    ("answer", lambda c: {"attempt": 2}, "answers what it was not asked"),
    ("answer", lambda c: {"round": c.round + 1}, "is for a round that is not open yet"),
    ("sum", lambda c: {"round": c.round + 1}, SUM),
    ("sum", lambda c: {"absent": ["halland"]}, SUM),
)


@pytest.mark.parametrize(("kind", "changes", "words"), CASES, ids=lambda part: part if isinstance(part, str) else "")
def test_everybody_refuses(kind: str, changes: Changes, words: str, finished: Federation) -> None:
    board = Board(finished.roster, finished.submission.study)
    for entry in finished.log:
        body = entry.message.body
        if body.kind == kind:
            break
        board.post(entry.message)
    content = entry.message.content.model_copy(update=changes(entry.message.content))
    wrong = finished.signers[body.sender].sign(
        type(content).model_validate(content.model_dump()),
        federation=body.federation,
        study=body.study,
        sender=body.sender,
        previous=body.previous,
        attachments=entry.attachments,
    )
    with pytest.raises(ProtocolError, match=words):
        board.post(wrong)
    board.post(entry.message)


def test_each_label_of_a_round_is_that_of_the_first_contribution(finished: Federation) -> None:
    board = Board(finished.roster, finished.submission.study)
    seconds = [entry for entry in finished.log if entry.message.body.kind == "contribution"][1:2]
    for entry in finished.log[: finished.log.index(seconds[0])]:
        board.post(entry.message)
    body, content = seconds[0].message.body, seconds[0].message.content
    for change in ({"label": bytes(32)}, {"purpose": "another"}):
        wrong = finished.signers[body.sender].sign(
            content.model_copy(update=change),
            federation=body.federation,
            study=body.study,
            sender=body.sender,
            previous=body.previous,
            attachments=seconds[0].attachments,
        )
        with pytest.raises(ProtocolError, match="do not contribute to the same label in round 0"):
            board.post(wrong)
    board.post(seconds[0].message)


def without(roster: Roster, name: str, role: str) -> Roster:
    """The roster with one role less."""
    members = (
        replace(one, roles=tuple(each for each in one.roles if (one.name, each) != (name, role)))
        for one in roster.members
    )
    return replace(roster, members=tuple(members))


def invited(federation: Federation, under: Roster, sender: str = "analyst", **changes: Any) -> None:
    """Posts the invitation of a federation's study, changed, where that roster is in force."""
    invitation = federation.submission.invitation.model_copy(update={"roster": under.digest, **changes})
    study = m.study_hash(invitation, sender)
    message = federation.signers[sender].sign(
        invitation, federation=under.federation, study=study, sender=sender, previous=m.ZERO_HASH
    )
    Board(under, study).post(message)


def test_everybody_refuses_an_invitation_that_the_roster_does_not_allow(finished: Federation) -> None:
    roster = finished.roster
    invited(finished, roster)
    with pytest.raises(ProtocolError, match="another version of the roster"):
        invited(finished, roster, roster=bytes(32))
    with pytest.raises(ProtocolError, match="which only a study's analyst may"):
        invited(finished, roster, "orebro")
    for role in ("contributor", "keyholder", "reader"):
        with pytest.raises(ProtocolError, match=f"orebro.*but not as a {role}"):
            invited(finished, without(roster, "orebro", role))
    with pytest.raises(ProtocolError, match="threshold is 2, but no study of test goes below 3"):
        invited(finished, replace(roster, least_threshold=3, least_min_contributors=4))
    with pytest.raises(ProtocolError, match="min_contributors is 3, but no study of test goes below 4"):
        invited(finished, replace(roster, least_min_contributors=4))


@pytest.mark.parametrize(
    ("security", "words"),
    [
        ({"threshold": 1}, "threshold"),
        ({"min_contributors": 2}, "must be at least threshold"),
        ({"min_contributors": 4}, "3 regions with data"),
        ({"readers": ["halland", "orebro"]}, "readers leaves out"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=str,
)
def test_everybody_refuses_an_invitation_with_a_definition_that_is_none(
    security: dict[str, Any], words: str, finished: Federation
) -> None:
    definition = finished.submission.invitation.definition
    with pytest.raises(ProtocolError, match=words):
        invited(
            finished, finished.roster, definition={**definition, "security": {**definition["security"], **security}}
        )


def test_an_invitation_is_refused_under_another_hash_than_its_own(finished: Federation) -> None:
    invitation = finished.submission.invitation
    message = finished.signers["analyst"].sign(
        invitation, federation="test", study=bytes(32), sender="analyst", previous=m.ZERO_HASH
    )
    with pytest.raises(ProtocolError, match="the invitation is not the study that it is sent as"):
        Board(finished.roster, bytes(32)).post(message)
