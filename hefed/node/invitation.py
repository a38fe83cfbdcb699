"""What a region does with an invitation before it keeps anything: whether it is one, and whether it can be looked at.

What comes here is the aggregator's word only until the analyst's signature holds. It must not store anything.
"""

from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import NEWEST_FIRST, Roster


def read_invitation(envelope: bytes, study: bytes, roster: Roster) -> m.Message:
    """An analyst's own invitation to this very study. Raises ProtocolError for anything else."""
    message = m.read_message(envelope, roster)
    content = message.content
    if not isinstance(content, m.Invitation):
        raise ProtocolError(f"a '{message.body.kind}' of {message.sender} came before the study's invitation")
    roster.require(message.sender, "analyst")
    if not message.body.study == study == m.study_hash(content, message.sender):
        raise ProtocolError(f"an invitation of {message.sender} is not the study that it is sent as")
    return message


def is_asked(content: m.Content, name: str) -> bool:
    """Whether a definition, which may be of another version or none, names this region at all."""
    definition = content.definition if isinstance(content, m.Invitation) else {}
    security = definition.get("security")
    named = [definition.get("contributors")]
    named += [security.get(role) for role in ("keyholders", "readers")] if isinstance(security, dict) else []
    return any(isinstance(names, list) and name in names for names in named)


def unfit(invitation: m.Message, roster: Roster, name: str) -> str | None:
    """Why a region cannot even look at a study, in its words; None when it can."""
    content = invitation.content
    if isinstance(content, m.Invitation) and content.roster != roster.digest:
        return (
            f"{name} has version {roster.version} of the roster of {roster.federation} in force, and "
            f"{invitation.sender} invites under another one; {NEWEST_FIRST}"
        )
    try:
        Board(roster, invitation.body.study).post(invitation)
    except ProtocolError as error:
        return str(error)
    return None


def title(content: m.Content) -> str:
    """What a definition, which may be none, calls its study."""
    heading = content.definition.get("study") if isinstance(content, m.Invitation) else None
    named = heading.get("id") if isinstance(heading, dict) else None
    return m.printable(named) if isinstance(named, str) else ""
