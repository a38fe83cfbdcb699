"""A member's identity: an Ed25519 key that signs and a CURVE key for the link, in one owner-only file, which may be
under a passphrase and then holds the key of the home too (`wrapping`).

Relies on `files` for the disk and on `passphrase` for opening; `Identity.load` is the one way into a home. Beside
messages it signs four statements, each under a label of its own: its card, a roster, what its people decided about a
study, and the identity that follows it. Its keys must not leave here but into the link.
"""

import resource
import secrets
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import zmq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from zmq.utils import z85

from hefed.node.errors import NodeError
from hefed.node.files import destroy, read_private, replace_private, write_private
from hefed.node.passphrase import opened, protected, under_the_same
from hefed.node.wrapping import IDENTITY, NEXT, PROTECTED, remember
from hefed.protocol import codec
from hefed.protocol.card import Card, card_statement
from hefed.protocol.errors import EncodingError, SealError
from hefed.protocol.messages import Signer
from hefed.protocol.roster import Member, Role, Roster, roster_statement, signed_bytes

FILE = IDENTITY
WRAPPING = "wrapping"


class Identity:
    """The keys of one member. No repr shows them."""

    __slots__ = ("_key", "_sealing", "signer", "transport_public", "transport_secret")

    def __init__(self, signing: bytes, transport: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(signing)
        self._sealing = ChaCha20Poly1305(HKDF(SHA256(), 32, None, b"hefed/1 files of an identity").derive(signing))
        self.signer = Signer(signing)
        self.transport_secret = transport
        self.transport_public = bytes(z85.decode(zmq.curve_public(z85.encode(transport))))

    def __repr__(self) -> str:
        return "Identity(...)"

    def __reduce__(self) -> str:
        raise TypeError("an identity is not pickled")

    @classmethod
    def create(cls, folder: Path, passphrase: bytes | None = None) -> "Identity":
        """A new identity, written into a folder, under a passphrase if there is one. Raises NodeError when there is one
        already.
        """
        signing, transport = _new_secrets()
        content = {"signing": signing, "transport": transport}
        if passphrase is None:
            data = codec.encode(content)
        else:
            data = protected(codec.encode(content | {WRAPPING: secrets.token_bytes(32)}), passphrase)
        try:
            write_private(folder / FILE, data)
        except FileExistsError:
            raise NodeError(f"{folder / FILE} exists already; an identity is never overwritten") from None
        return cls(signing, transport)

    @classmethod
    def passing(cls) -> "Identity":
        """A new identity that is never written down: it ends with this process."""
        return cls(*_new_secrets())

    @classmethod
    def load(cls, folder: Path) -> "Identity":
        """The identity in a folder; one under a passphrase opens its home for this process. Raises NodeError."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
        try:
            content = _content(folder)
            identity = cls(content["signing"], content["transport"])
            wrapping = content.get(WRAPPING)
            if wrapping is not None and (type(wrapping) is not bytes or len(wrapping) != 32):
                raise ValueError("no wrapping key")
        except (EncodingError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise NodeError(f"{folder / FILE} is not an identity of hefed; restore it from its backup") from error
        remember(folder, wrapping)
        return identity

    @staticmethod
    def create_next(folder: Path) -> None:
        """Another identity beside the one there is, unless there is one already. Raises NodeError."""
        signing, transport = _new_secrets()
        with suppress(FileExistsError):
            write_private(folder / NEXT, codec.encode({"signing": signing, "transport": transport}))

    @classmethod
    def load_next(cls, folder: Path) -> "Identity | None":
        """The identity that is to follow the one in a folder, which is open, if there is one. Raises NodeError."""
        if not (folder / NEXT).exists():
            return None
        try:
            content = codec.decode(read_private(folder / NEXT))
            return cls(content["signing"], content["transport"])
        except (EncodingError, KeyError, TypeError, ValueError) as error:
            raise NodeError(f"{folder / NEXT} is not an identity of hefed; remove it, and rotate again") from error

    def seal(self, what: bytes, secret: bytes) -> bytes:
        """A secret for a file outside the home, which only this identity opens: so it is under the passphrase of the
        home too. `what` says what the file is; it is bound.
        """
        nonce = secrets.token_bytes(12)
        return what + nonce + self._sealing.encrypt(nonce, secret, what)

    def unseal(self, what: bytes, data: bytes) -> bytes:
        """The inverse. Raises SealError for what was altered, or sealed by another identity."""
        start = len(what) + 12
        try:
            return self._sealing.decrypt(data[len(what) : start], data[start:], what)
        except (InvalidTag, ValueError):  # the second where not even a nonce is left of it
            raise SealError("it was altered, or made with another identity than the one in force now") from None

    def member(self, name: str, roles: tuple[Role, ...]) -> Member:
        """This identity as a roster lists it."""
        return Member(name, self.signer.public, self.transport_public, tuple(sorted(set(roles))))

    def card(self, name: str, ends: date | None = None) -> Card:
        """This identity's card under a name, until the end of a day. Raises RosterError when it is no name."""
        public = self.signer.public, self.transport_public
        return Card(name, *public, self.sign_statement(*card_statement(name, *public, ends)), ends)

    def sign_roster(self, roster: Roster) -> bytes:
        """The signature (64 bytes) that says: I am a member, by this roster and no other of its version."""
        return self.sign_statement(*roster_statement(roster))

    def sign_statement(self, label: str, *parts: bytes | str) -> bytes:
        """The signature (64 bytes) of a statement under a label of its own; no message is ever signed so."""
        return self._key.sign(signed_bytes(label, *parts))


def put_under(folder: Path, passphrase: bytes) -> None:
    """Writes the identity in a folder again, under a passphrase; one that had another keeps the key of its home."""
    content = {WRAPPING: secrets.token_bytes(32)} | _content(folder)
    replace_private(folder / FILE, protected(codec.encode(content), passphrase))
    remember(folder, content[WRAPPING])


def take_off(folder: Path) -> None:
    """Writes the identity in a folder again, without a passphrase and without a key of the home."""
    content = _content(folder)
    replace_private(folder / FILE, codec.encode({name: key for name, key in content.items() if name != WRAPPING}))
    remember(folder, None)


def take_over(folder: Path) -> None:
    """Puts the next identity in the place of the one there is, whose keys are destroyed; again after a kill in between.
    Raises NodeError.
    """
    there, content = read_private(folder / FILE), codec.decode(read_private(folder / NEXT))
    if there.startswith(PROTECTED):
        data = under_the_same(there, codec.encode(content | {WRAPPING: _content(folder)[WRAPPING]}))
    else:
        data = codec.encode(content)
    replace_private(folder / FILE, data, like=folder / NEXT)
    destroy(folder / NEXT)


def _content(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    data = read_private(path)
    content: dict[str, Any] = codec.decode(opened(path, data) if data.startswith(PROTECTED) else data)
    return content


def _new_secrets() -> tuple[bytes, bytes]:
    return secrets.token_bytes(32), secrets.token_bytes(32)
