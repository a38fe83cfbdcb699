"""A member's word, under the old identity, that another one follows it: a short text for the others.

    hefed rotation 1
    name: halland
    from: BASE64 OF 32 BYTES            the old identity key
    identity: BASE64 OF 32 BYTES
    transport: BASE64 OF 32 BYTES
    signature: BASE64 OF 64 BYTES       by it, over enc("hefed/1 rotation", name, from, identity, transport)

It says who asks for the change; that the keys are the member's, all see as with any card. A text that would not be
written so is refused. Must not touch a secret.
"""

import base64
import binascii
import os
import re
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from hefed.node.errors import NodeError
from hefed.node.federation import load_roster, read_bounded, replace_durably, shown
from hefed.node.files import COMMANDS, lock_folder
from hefed.node.home import PATIENCE, Home
from hefed.node.identity import Identity
from hefed.protocol.ending import day, usual_end
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import fingerprint, is_signed
from hefed.protocol.text import card_text

LABEL = "rotation"
_FORM = re.compile(
    r"hefed rotation 1\nname: ([a-z0-9-]{1,64})\nfrom: (\S{44})\nidentity: (\S{44})\ntransport: (\S{44})\n"
    r"signature: (\S{88})\n"
)


@dataclass(frozen=True)
class Rotation:
    """Name, old identity key, new identity and transport keys, and the signature by the old one, which holds."""

    name: str
    old: bytes
    identity: bytes
    transport: bytes
    signature: bytes

    def __post_init__(self) -> None:
        statement = self.name, self.old, self.identity, self.transport
        if not is_signed(self.old, self.signature, LABEL, *statement):
            raise RosterError(f"the old identity of {self.name} did not sign that; ask {self.name} for it again")

    @property
    def fingerprint(self) -> str:
        """Of the new card."""
        return fingerprint(self.name, self.identity, self.transport)

    def text(self) -> str:
        """The one text of this."""
        keys = {"from": self.old, "identity": self.identity, "transport": self.transport, "signature": self.signature}
        lines = (f"{key}: {base64.b64encode(value).decode()}\n" for key, value in keys.items())
        return f"hefed rotation 1\nname: {self.name}\n" + "".join(lines)

    @classmethod
    def read(cls, path: Path) -> "Rotation":
        """From a file. Raises RosterError, NodeError."""
        text = read_bounded(path).decode("latin-1").replace("\r\n", "\n")
        form = _FORM.fullmatch(text)
        try:
            if form is None:
                raise ValueError("another form")
            made = cls(form[1], *(base64.b64decode(part, validate=True) for part in form.groups()[1:]))
            if made.text() != text:
                raise ValueError("not as it would be written")
        except (ValueError, binascii.Error):
            raise RosterError(f"{shown(path)}: is no rotation of hefed; is it the right file?") from None
        return made


def rotate(folder: Path, ends: date | None = None) -> tuple[Rotation, Path, Path]:
    """Makes the identity that is to follow the one of a home, its card, and the old one's word for it; the same again
    when it was made already. It lasts until the end of the day `ends`, two years from its making unless one is given.
    Returns the word and where both lie. Raises NodeError, RosterError.
    """
    name = Home(folder).card().name
    lock = lock_folder(folder, PATIENCE, COMMANDS)
    try:
        Identity.create_next(folder)
    finally:
        os.close(lock)
    home = Home(folder)
    if home.next is None:
        raise NodeError(f"{shown(folder)}: the new identity is in force already; nothing is left to do")
    keys = home.identity.signer.public, home.next.signer.public, home.next.transport_public
    rotation = Rotation(name, *keys, home.identity.sign_statement(LABEL, name, *keys))
    card, word = home.card_file(f"{name}.next"), folder / f"{name}.rotation"
    made = home.next_card()
    until = ends or (made.ends if made else usual_end(day(time.time())))
    replace_durably(card, card_text(home.next.card(name, until)).encode())
    replace_durably(word, rotation.text().encode())
    return rotation, card, word


def verify(file: Path, old: Path) -> Rotation:
    """The rotation in a file, of a member as an earlier roster lists it. Raises RosterError, NodeError."""
    rotation, roster = Rotation.read(file), load_roster(old).roster
    if roster.member(rotation.name).identity != rotation.old:
        raise RosterError(
            f"{shown(file)} is not signed with the key that {rotation.name} has in version {roster.version} of "
            f"{roster.federation}; do not take it, and ask {rotation.name}"
        )
    return rotation
