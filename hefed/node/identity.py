"""A member's identity: an Ed25519 key that signs and a CURVE key for the link, in one owner-only file.

Relies on `files` for the disk. Beside messages it signs three statements, each under a label of its own: its card, a
roster, and what its people decided about a study. Its keys must not leave here but into the link.
"""

import secrets
from pathlib import Path

import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from zmq.utils import z85

from hefed.node.errors import NodeError
from hefed.node.files import read_private, write_private
from hefed.protocol import codec
from hefed.protocol.card import Card, card_statement
from hefed.protocol.errors import EncodingError
from hefed.protocol.messages import Signer
from hefed.protocol.roster import Member, Role, Roster, roster_statement, signed_bytes

FILE = "identity.key"


class Identity:
    """The keys of one member. No repr shows them."""

    __slots__ = ("_key", "signer", "transport_public", "transport_secret")

    def __init__(self, signing: bytes, transport: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(signing)
        self.signer = Signer(signing)
        self.transport_secret = transport
        self.transport_public = bytes(z85.decode(zmq.curve_public(z85.encode(transport))))

    def __repr__(self) -> str:
        return "Identity(...)"

    @classmethod
    def create(cls, folder: Path) -> "Identity":
        """A new identity, written into a folder. Raises NodeError when there is one already."""
        signing, transport = _new_secrets()
        try:
            write_private(folder / FILE, codec.encode({"signing": signing, "transport": transport}))
        except FileExistsError:
            raise NodeError(f"{folder / FILE} exists already; an identity is never overwritten") from None
        return cls(signing, transport)

    @classmethod
    def passing(cls) -> "Identity":
        """A new identity that is never written down: it ends with this process."""
        return cls(*_new_secrets())

    @classmethod
    def load(cls, folder: Path) -> "Identity":
        """The identity in a folder. Raises NodeError."""
        try:
            value = codec.decode(read_private(folder / FILE))
            return cls(value["signing"], value["transport"])
        except (EncodingError, KeyError, TypeError, ValueError) as error:
            raise NodeError(f"{folder / FILE} is not an identity of hefed; restore it from its backup") from error

    def member(self, name: str, roles: tuple[Role, ...]) -> Member:
        """This identity as a roster lists it."""
        return Member(name, self.signer.public, self.transport_public, tuple(sorted(set(roles))))

    def card(self, name: str) -> Card:
        """This identity's card under a name. Raises RosterError when it is no name."""
        public = self.signer.public, self.transport_public
        return Card(name, *public, self.sign_statement(*card_statement(name, *public)))

    def sign_roster(self, roster: Roster) -> bytes:
        """The signature (64 bytes) that says: I am a member, by this roster and no other of its version."""
        return self.sign_statement(*roster_statement(roster))

    def sign_statement(self, label: str, *parts: bytes | str) -> bytes:
        """The signature (64 bytes) of a statement under a label of its own; no message is ever signed so."""
        return self._key.sign(signed_bytes(label, *parts))


def _new_secrets() -> tuple[bytes, bytes]:
    return secrets.token_bytes(32), secrets.token_bytes(32)
