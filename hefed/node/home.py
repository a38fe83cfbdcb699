"""A member's home: the folder with its identity, its card, every roster that it signed, and the one in force.

    identity.key        the member's secret keys, for its owner only, under a passphrase if it is to be
    identity.key.next   those that take their place once a roster that lists them is in force (`hefed keys rotate`)
    NAME.card           its name and public keys, to be given to others; NAME.next.card with the next ones
    settings.toml       its own settings, for its people to edit
    decisions/          what its people said to studies, signed
    rosters/N.roster    version N, which this member signed: never another one of the same version
    roster.cbor         the roster in force, which the processes read

Relies on `files` and `identity` for secrets and on `federation` for reading. A signature is on disk, with the roster
that it is for, before anybody gets it. Must not take a roster that goes back, or one of another federation.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from hefed.node.absent import is_simulated, why_no_home
from hefed.node.errors import NodeError
from hefed.node.federation import (
    day_of,
    load_card,
    load_roster,
    read_bounded,
    replace_durably,
    require_same_ends,
    shown,
)
from hefed.node.files import COMMANDS, flush_folder, lock_folder, make_private_folder
from hefed.node.identity import FILE as IDENTITY_FILE
from hefed.node.identity import Identity, put_under, take_over
from hefed.node.passphrase import Ask
from hefed.node.process import ROSTER
from hefed.node.settings import FILE as SETTINGS
from hefed.node.settings import TEMPLATE
from hefed.node.wrapping import NEXT, is_protected
from hefed.protocol.card import Card
from hefed.protocol.ending import day, usual_end
from hefed.protocol.errors import ProtocolError, RosterError
from hefed.protocol.roster import Member, Roster, SignedRoster, check_name
from hefed.protocol.text import card_text, roster_text

ROSTERS = "rosters"
PATIENCE = 10.0
"""Seconds to wait for another command in the same home."""


class Home:
    """The home of one member. Its methods raise RosterError for a roster that will not do, NodeError for the disk."""

    def __init__(self, folder: Path) -> None:
        """Opens a home that `init` made."""
        self.folder = folder
        if words := why_no_home(folder):
            raise NodeError(words)
        self.identity = Identity.load(folder)
        self.next = Identity.load_next(folder)
        if self.next and (force := self.in_force()) and self._lists(force, self.next):
            with self._alone():
                self._turn(force)

    @classmethod
    def init(cls, folder: Path, name: str, ask: Ask | None = None, ends: date | None = None) -> "Home":
        """A new home with a new identity, and its card; under the passphrase that `ask` gives, until the end of the day
        `ends`, two years from now unless one is given. Raises NodeError when there is one already; an identity whose
        card was not written, as the power went, gets it now.
        """
        check_name(name)
        if is_simulated(folder):
            raise NodeError(why_no_home(folder) or "")
        make_private_folder(folder)
        if not (folder / IDENTITY_FILE).exists():
            Identity.create(folder, ask(folder) if ask else None)
        home = cls(folder)
        if home._cards():
            raise NodeError(f"{shown(folder / IDENTITY_FILE)} exists already; an identity is never overwritten")
        if ask and not is_protected(folder):
            put_under(folder, ask(folder))
        if not (folder / SETTINGS).exists():
            replace_durably(folder / SETTINGS, TEMPLATE.encode())
        force = home.in_force()
        listed = [member for member in force.members if _is_of(member, home.identity)] if force else []
        until = listed[0].ends if listed else ends or usual_end(day(time.time()))
        replace_durably(home.card_file(name), card_text(home.identity.card(name, until)).encode())
        return home

    def card_file(self, name: str) -> Path:
        """Where the card of that name lies."""
        return self.folder / f"{name}.card"

    def card(self) -> Card:
        """This member's own card; others may lie beside it."""
        cards = self._cards()
        if len(cards) != 1:
            raise NodeError(
                f"{shown(self.folder)} has {'no card' if not cards else 'several cards'} of its own identity; "
                + ("remove all but the right one" if cards else "write it again: hefed init NAME with the same --home")
            )
        return cards[0]

    def _cards(self) -> list[Card]:
        cards = [load_card(path) for path in sorted(self.folder.glob("*.card"))]
        return [card for card in cards if card.identity == self.identity.signer.public]

    def next_card(self) -> Card | None:
        """The card of the identity that is to follow, once it is written."""
        cards = [load_card(path) for path in sorted(self.folder.glob("*.card"))]
        return next((card for card in cards if self.next and card.identity == self.next.signer.public), None)

    def me(self, roster: Roster) -> Member:
        """This member as a roster lists it. Raises RosterError unless name and both keys are this home's."""
        card = self.card()
        member = roster.member(card.name)
        if not any(_is_of(member, identity) for identity in (self.identity, self.next)):
            raise RosterError(
                f"the roster of {roster.federation} (version {roster.version}) lists other keys for {card.name} than "
                "this home has; somebody altered it, or made it from an old card: do not use it, and ask who made it"
            )
        return member

    def in_force(self) -> Roster | None:
        """The roster in force here, if there is one yet."""
        path = self.folder / ROSTER
        if not path.exists():
            return None
        try:
            return Roster.from_bytes(read_bounded(path))
        except ProtocolError as error:
            raise NodeError(f"{shown(path)} cannot be used: {error}") from error

    def signed(self) -> dict[int, SignedRoster]:
        """What this member signed, by version."""
        versions = {}
        for path in self.folder.joinpath(ROSTERS).glob("*.roster"):
            if re.fullmatch(r"[1-9][0-9]{0,8}\.roster", path.name):
                versions[int(path.stem)] = load_roster(path)
        return versions

    def check(self, roster: Roster) -> None:
        """Whether this member may be asked to sign a roster or take it: it lists the member's own name and keys, it is
        of the federation that the member belongs to, does not go back, and moves no identity's end. Raises RosterError.
        """
        me = self.me(roster)
        card = self.next_card() if self.next and _is_of(me, self.next) else self.card()
        if card is not None and card.ends != me.ends:
            raise RosterError(
                f"the roster of {roster.federation} (version {roster.version}) lets the identity of {me.name} end "
                f"{day_of(me.ends)}, and its card {day_of(card.ends)}; do not use it, and ask who made it"
            )
        signed = self.signed()
        known = [one.roster for one in signed.values()]
        force = self.in_force()
        for other in (*known, *([force] if force else [])):
            if other.federation != roster.federation:
                raise RosterError(
                    f"this home belongs to the federation {other.federation}, not to {roster.federation}; "
                    "make another home for another federation"
                )
            if other.version == roster.version and other != roster:
                raise RosterError(
                    f"this is another version {roster.version} of {roster.federation} than the one that this home has "
                    f"({roster.fingerprint} is not {other.fingerprint}); whoever made it makes a version "
                    f"{roster.version + 1}: hefed federation create --from"
                )
        if force and roster.version < force.version:
            raise RosterError(
                f"this is version {roster.version} of {roster.federation}, but version {force.version} is in force "
                "here, and a home never goes back; ask for the newest file"
            )
        # Those that all signed, so that a member that is left out once does not come back with another end.
        complete = [signed[version].roster for version in sorted(signed) if not signed[version].missing]
        before = [*complete, *([force] if force else [])]
        require_same_ends((member for one in before for member in one.members), roster)

    def has_signed(self, roster: Roster) -> bool:
        """Whether this member signed that very roster."""
        signed = self.signed().get(roster.version)
        return signed is not None and signed.roster == roster

    def sign(self, signed: SignedRoster) -> SignedRoster:
        """The same with this member's signature, which is on disk before it is returned. Raises RosterError when the
        member has signed, or has in force, what this would go back behind.
        """
        roster = signed.roster
        with self._alone():
            self.check(roster)
            newest = max(self.signed(), default=0)
            if roster.version < newest:
                raise RosterError(
                    f"this home signed version {newest} of {roster.federation} already and signs no version "
                    f"{roster.version} after it; ask for the newest file"
                )
            me = self.me(roster)
            identity = self.next if self.next and _is_of(me, self.next) else self.identity
            own = SignedRoster(roster, {me.name: identity.sign_roster(roster)})
            return self._keep(own.united(signed))

    def install(self, signed: SignedRoster) -> None:
        """Puts a roster in force that every member has signed. Raises RosterError for any other."""
        roster = signed.roster
        if signed.missing:
            raise RosterError(
                f"{', '.join(signed.missing)} did not sign version {roster.version} of {roster.federation}"
            )
        with self._alone():
            self.check(roster)
            self._keep(signed)
            replace_durably(self.folder / ROSTER, roster.to_bytes())
            if self.next and self._lists(roster, self.next):
                self._turn(roster)

    @staticmethod
    def _lists(roster: Roster, identity: Identity) -> bool:
        return any(_is_of(member, identity) for member in roster.members)

    def _turn(self, roster: Roster) -> None:
        """The next identity, which the roster in force lists, takes the place of the one there is."""
        lock = lock_folder(self.folder, PATIENCE, COMMANDS)
        try:
            if (self.folder / NEXT).exists():  # another process may have been here before
                (name,) = (member.name for member in roster.members if _is_of(member, self.next))
                if self.card_file(f"{name}.next").exists():
                    self.card_file(f"{name}.next").replace(self.card_file(name))
                    flush_folder(self.folder)
                take_over(self.folder)
        except OSError as error:
            raise NodeError(f"{shown(self.folder)} cannot be written to: {error.strerror}") from error
        finally:
            os.close(lock)
        self.identity, self.next = Identity.load(self.folder), None

    def _keep(self, signed: SignedRoster) -> SignedRoster:
        earlier = self.signed().get(signed.roster.version)
        kept = earlier.united(signed) if earlier else signed
        replace_durably(self.folder / ROSTERS / f"{signed.roster.version}.roster", roster_text(kept).encode())
        return kept

    @contextmanager
    def _alone(self) -> Iterator[None]:
        make_private_folder(self.folder / ROSTERS)
        lock = lock_folder(self.folder / ROSTERS, PATIENCE)
        try:
            yield
        finally:
            os.close(lock)


def _is_of(member: Member, identity: Identity | None) -> bool:
    return identity is not None and (member.identity, member.transport) == (
        identity.signer.public,
        identity.transport_public,
    )
