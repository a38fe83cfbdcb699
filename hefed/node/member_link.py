"""A member's end of its link: one outbound connection to the aggregator, made again by itself.

Relies on `link` for what both ends share and on `dial` for the connection. It must not look at what messages say beyond
their headers.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from hefed.node import trouble as t
from hefed.node.dial import Dialler
from hefed.node.errors import NodeError
from hefed.node.frames import Incoming, Link, is_long, parts_of
from hefed.node.handshake import (
    PROTOCOLS,
    RosterState,
    Versions,
    Welcome,
    differing_rosters,
    hello,
    names,
    turned_away,
)
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.link import TURN, Received, prepare
from hefed.node.pieces import Pieces
from hefed.node.traffic import Traffic
from hefed.protocol.errors import RosterError
from hefed.protocol.messages import MAX_WORDS, printable
from hefed.protocol.roster import MAX_MEMBERS, Roster

STUCK = 120.0
"""Seconds without a piece, over a connection that stands, after which a long message begins again."""


class MemberLink:
    """A member's end: one outbound connection, to the aggregator's key and no other; reconnects by itself with back-
    off, at the next address when one fails.

    Its owner calls `news` in each turn of its loop, at least five times a second, and greets when that is due. Only
    with `greeted` does the aggregator know this member; until then `trouble` says why not.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        identity: Identity,
        roster: Roster,
        addresses: Sequence[str],
        *,
        proxy: str | None = None,
        limits: Limits = USUAL,
        traffic: Traffic | None = None,
        folder: Path | None = None,
    ) -> None:
        """`addresses` are tried in turn, host:port each; `proxy`, host:port, speaks SOCKS5. Long messages lie in
        `folder` (None: where temporary files do) while they come. Raises NodeError when one is no address.
        """
        me = next((member.name for member in roster.members if member.transport == identity.transport_public), None)
        self._roster = roster
        self._places = t.Places(me or "this member", roster.aggregator.name, roster.federation, roster.version)
        self.socket, self._limits = context.socket(zmq.DEALER), limits
        prepare(self.socket, identity, limits)
        self.socket.curve_serverkey = z85.encode(roster.aggregator.transport)
        try:
            self._dialler = Dialler(self.socket, addresses, self._places, proxy, limits)
        except RosterError as error:
            self.socket.close()
            raise NodeError(str(error)) from error
        self.monitor = self._dialler.monitor
        self._incoming, self._traffic = Incoming(self.socket), traffic or Traffic.under(limits, at_member=True)
        self._new_pieces = partial(Pieces, folder, limits.message_bytes)
        self._pieces = self._new_pieces()
        self.welcome: Welcome | None = None
        """What the aggregator said in its greeting, since this connection was made."""
        self.present: tuple[str, ...] = ()
        """The members that are connected, as the aggregator last said."""
        self._said: t.Trouble | None = None
        self._since = self._greeted = 0.0
        self._traffic.start()
        self._dialler.step()

    @property
    def connected(self) -> bool:
        """Whether a handshake has been completed and the connection stands."""
        return self._dialler.connected

    @property
    def greeted(self) -> bool:
        """Whether the aggregator has greeted this member over the connection that stands."""
        return self.connected and self.welcome is not None

    @property
    def is_busy(self) -> bool:
        """Whether a long message is on its way, in either direction."""
        return self._pieces.is_busy

    @property
    def address(self) -> str:
        """The aggregator's address that is in use, or being tried."""
        return self._dialler.address

    @property
    def tried_all(self) -> bool:
        """Whether all addresses have been tried, or one is connected, so that `trouble` is not of the first alone."""
        return self.connected or self._dialler.tried_all

    def trouble(self) -> t.Trouble | None:
        """Why the aggregator has not greeted this member; None when it has, or nothing is known yet."""
        if not self.connected:
            return self._dialler.trouble()
        if self.welcome is not None:
            return None
        if self._said is None and time.monotonic() - self._since > self._limits.greeting_seconds:
            return t.not_greeted(self._places, self.address)
        return self._said

    def differing_roster(self) -> str | None:
        """In words, that the aggregator has another roster in force, and which is older; None when it has the same."""
        theirs = self.welcome.roster if self.welcome else None
        return differing_rosters(self._places.member, RosterState.of(self._roster), self._places.aggregator, theirs)

    def news(self) -> bool:
        """Reads the connection's events, and dials again when that is due; True when a greeting is due: a handshake has
        just been completed, or the last greeting found no answer.
        """
        fresh = self._dialler.step()
        if fresh or not self.connected:
            self.welcome, self._said, self.present = None, None, ()
            self._begin_anew()
        if fresh:
            self._since = self._greeted = time.monotonic()
            self._traffic.opened(self._dialler.descriptor)
        elif not self.connected:
            self._traffic.forget()
        if self.connected and self.welcome is None and self._said is None and self._asked_again():
            return True
        return fresh or (self.greeted and self._is_stuck())

    def _is_stuck(self) -> bool:
        """Whether a long message has to begin again: it is gone, or has not moved for long."""
        stands = self._pieces.is_busy and time.monotonic() - self._pieces.moved > STUCK
        return stands or self._pieces.is_gone

    def _asked_again(self) -> bool:
        due = time.monotonic() - self._greeted > 6 * self._limits.greeting_seconds
        if due:
            self._greeted = time.monotonic()
        return due

    def greet(self, studies: Mapping[str, int], *, only: bool = False) -> None:
        """Says hello: for each study (hex) the entry that is wanted next. `only`: a connection for these studies and no
        other, beside those that the member has already.
        """
        self.welcome = None
        self._begin_anew()
        self.send(hello(studies, self._roster, only=only))

    def receive(self) -> Iterator[Received]:
        """What has arrived."""
        until = time.monotonic() + TURN
        self._pieces.go_on(self._hand_over)
        for _ in range(self._limits.waiting_messages):
            parts = self._incoming.take(until)
            if parts is None:
                return
            if self._incoming.too_long:
                self._traffic.cut_off(self._dialler.descriptor)
                continue
            self._traffic.took(self._dialler.descriptor, parts)
            came = [Received(*message) for message in self._pieces.read(parts)]
            came += [Received(header, (), too_long=size) for header, size in self._pieces.refused]
            self._pieces.refused.clear()
            self._pieces.go_on(self._hand_over)
            for one in came:
                if self._note(one.header):
                    yield one

    def _begin_anew(self) -> None:
        """What was on its way in pieces comes again: both ends say in their greetings how far they are."""
        self._pieces.drop()
        self._pieces = self._new_pieces()

    def _note(self, header: dict[str, Any]) -> bool:
        """Takes what concerns the link; False when the link's owner should not see it."""
        match header:
            case {"type": "welcome"}:
                welcome = Welcome.read(header)
                if welcome.protocol not in PROTOCOLS:  # one of hefed 0.1 welcomes everybody
                    theirs = Versions(welcome.package, (welcome.protocol,))
                    self._said = t.turned_away(turned_away(self._places.member, self._places.aggregator, theirs))
                    return False
                self.welcome, self._said = welcome, None
                self._dialler.settled()
            case {"type": "turned away", "words": str(words)}:
                self._said = t.turned_away(printable(words[:MAX_WORDS]))
            case {"type": "present", "members": list(members)}:
                self.present = names(members, MAX_MEMBERS)
        return True

    def send(self, header: dict[str, Any], *frames: bytes) -> bool:
        """False when there is no connection or its queue is full; what matters is sent again after a greeting."""
        return self.send_all((header, frames))

    def send_all(self, *messages: Link) -> bool:
        """The same of messages that leave together; a long one is alone, and counts as handed over when it begins to
        leave.
        """
        if self._pieces.leaves and any(frames for _, frames in messages):
            return False
        if not is_long(messages[0]):
            return self._hand_over(parts_of(*messages))
        if not self.connected:
            return False
        self._pieces.begin(messages[0])
        self._pieces.go_on(self._hand_over)
        return True

    def _hand_over(self, parts: list[zmq.Frame]) -> bool:
        if not self.connected or not self._traffic.has_room(self._dialler.descriptor, parts):
            return False
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        self._traffic.handed_over(self._dialler.descriptor, parts)
        return True

    def close(self) -> None:
        """Closes the connection."""
        self._traffic.stop()
        self._pieces.drop()
        self._dialler.close()
        self.socket.close()
