"""A member's card: its name, public keys and last day, signed with its own identity key, so that a slip of typing or
keys that were swapped are noticed. That the card is the member's, only its fingerprint tells, compared over the
telephone.
"""

from dataclasses import dataclass
from datetime import date

from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Member, Role, is_signed


@dataclass(frozen=True)
class Card:
    """Name, Ed25519 verification key, CURVE public key (32 bytes each), the signature (64 bytes), which holds, and the
    last day of the identity, if it has one.
    """

    name: str
    identity: bytes
    transport: bytes
    signature: bytes
    ends: date | None = None

    def __post_init__(self) -> None:
        self.member(("reader",))  # its name and keys have their form
        statement = card_statement(self.name, self.identity, self.transport, self.ends)
        if not is_signed(self.identity, self.signature, *statement):
            raise RosterError(
                f"the card of {self.name} does not carry its own signature: a line was altered or keys were swapped; "
                f"ask {self.name} for it again"
            )

    @property
    def fingerprint(self) -> str:
        """What is compared over the telephone."""
        return self.member(("reader",)).fingerprint

    def member(self, roles: tuple[Role, ...]) -> Member:
        """The member of this card in these roles, in any order."""
        return Member(self.name, self.identity, self.transport, tuple(sorted(set(roles))), self.ends)


def card_statement(
    name: str, identity: bytes, transport: bytes, ends: date | None = None
) -> tuple[str, str, *tuple[bytes | str, ...]]:
    """What a member signs on its card: its label, and all that stands there."""
    if ends is None:
        return "card", name, identity, transport
    return "card", name, identity, transport, ends.isoformat()
