"""A member's card: its name and public keys, signed with its own identity key, so that a slip of typing or keys that
were swapped are noticed. That the card is the member's, only its fingerprint tells, compared over the telephone.
"""

from dataclasses import dataclass

from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Member, Role, is_signed


@dataclass(frozen=True)
class Card:
    """Name, Ed25519 verification key, CURVE public key (32 bytes each), and the signature (64 bytes), which holds."""

    name: str
    identity: bytes
    transport: bytes
    signature: bytes

    def __post_init__(self) -> None:
        self.member(("reader",))  # its name and keys have their form
        if not is_signed(self.identity, self.signature, *card_statement(self.name, self.identity, self.transport)):
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
        return Member(self.name, self.identity, self.transport, tuple(sorted(set(roles))))


def card_statement(name: str, identity: bytes, transport: bytes) -> tuple[str, str, bytes, bytes]:
    """What a member signs on its card."""
    return "card", name, identity, transport
