"""The wire between a member and the aggregator: ZeroMQ over TCP with CURVE, keys from the roster only.

Members dial out (DEALER) to the aggregator's one port (ROUTER); `frames` says how messages lie in ZeroMQ's, `pieces`
how a long one travels, `handshake` how the ends greet each other, and `traffic` bounds what they hold. Delivery is
exactly once and in order by numbers, not by trust in the socket: a member says which entry it wants next, the
aggregator says how many messages it has, and after any break both begin there again. CURVE protects the link; privacy
never depends on it.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from hefed.crypto.buffer import Buffer
from hefed.node import trouble as t
from hefed.node.dial import Dialler
from hefed.node.errors import NodeError
from hefed.node.frames import Incoming, Link, is_long, parts_of
from hefed.node.handshake import (
    LINK_VERSION,
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
from hefed.node.pieces import Pieces
from hefed.node.traffic import Traffic
from hefed.protocol.errors import RosterError
from hefed.protocol.messages import MAX_WORDS, printable
from hefed.protocol.roster import MAX_MEMBERS, Roster

__all__ = ["BEAT", "LINK_VERSION", "AggregatorLink", "MemberLink", "Received"]

BEAT = 1.0
"""Seconds between signs of life."""
STUCK = 120.0
"""Seconds without a piece, over a connection that stands, after which a long message begins again."""
TURN = 0.2
"""Seconds after which a turn takes no further message: who sends without end keeps nobody from being answered."""


@dataclass(frozen=True)
class Received:
    """What came over a link: its header, the frames behind it and, at the aggregator, whose connection it came from."""

    header: dict[str, Any]
    frames: tuple[Buffer, ...]
    sender: str = ""
    connection: bytes = b""
    too_long: int = 0
    """Bytes of a message that was announced longer than any may be here; it then has no frames."""

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self.too_long or sum(map(len, self.frames))


def _prepare(socket: "zmq.Socket[bytes]", identity: Identity, limits: Limits) -> None:
    socket.curve_secretkey = z85.encode(identity.transport_secret)
    socket.curve_publickey = z85.encode(identity.transport_public)
    socket.linger = 0
    # `traffic` bounds the bytes that have come. At a bound on messages here libzmq stops reading, takes the peer for
    # dead as it hears nothing of it, connects again, and can abort this process (its issues 3937 and 4767).
    # What does not fit on the way out is sent again from disk later.
    socket.sndhwm, socket.rcvhwm = limits.waiting_messages, 0
    socket.maxmsgsize = limits.frame_bytes
    socket.ipv6 = True
    silence = int(1000 * limits.silence_seconds)
    socket.setsockopt(zmq.HEARTBEAT_IVL, silence // 3)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, silence)
    socket.setsockopt(zmq.HEARTBEAT_TTL, silence)
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(1000 * limits.handshake_seconds))


class AggregatorLink:
    """The aggregator's end: accepts members of the roster, knows each by its key."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        identity: Identity,
        roster: Roster,
        address: str,
        *,
        limits: Limits = USUAL,
        traffic: Traffic | None = None,
        folder: Path | None = None,
    ) -> None:
        """Listens on `address`: host:port, 0 for any free port, * for every interface. `limits` bound what
        connections make this process hold; `traffic` takes the place of those of theirs that are about bytes and
        connections. Long messages lie in `folder` (None: where temporary files do) while they come. Raises NodeError
        when it cannot listen there.
        """
        self._names = {z85.encode(member.transport): member.name for member in roster.members}
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain="*", credentials_provider=self)
        self.socket, self._turn = context.socket(zmq.ROUTER), limits.waiting_messages
        _prepare(self.socket, identity, limits)
        self.socket.curve_server = True
        self.socket.router_mandatory = True
        self._incoming = Incoming(self.socket)
        self._traffic, self._descriptors = traffic or Traffic.under(limits), dict[bytes, int]()
        self._pieces: dict[bytes, tuple[str, Pieces]] = {}
        self._new_pieces = partial(Pieces, folder, limits.message_bytes, asks=True)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED)
        self._traffic.start()
        try:
            self.socket.bind(f"tcp://{address}")
        except zmq.ZMQError as error:
            self.close()
            raise NodeError(
                f"cannot listen on {address}: {zmq.strerror(error.errno or 0).lower()}; choose an address of "
                "this machine and a free port, or stop what uses it"
            ) from error
        # An IPv4 address is one of IPv6 to a socket that does both; people and other programs know it as it was.
        taken = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://")
        self.address = re.sub(r"\[::ffff:([0-9.]+)\]", r"\1", taken)
        """Where it listens, host:port."""

    def callback(self, domain: str, key: bytes) -> bool:
        """Called by the authenticator: whether a key is on the roster."""
        return key in self._names

    def receive(self) -> Iterator[Received]:
        """What has arrived. Frames that are not of our form are dropped; nobody but members can send any."""
        self._follow_connections()
        for connection, (_, pieces) in list(self._pieces.items()):
            pieces.go_on(partial(self._hand_over, connection))
        until = time.monotonic() + TURN
        for _ in range(self._turn):
            parts = self._incoming.take(until)
            if parts is None:
                self._traffic.thin_out()  # who has said something is known by now
                return
            self._follow_connections()  # the descriptor may have been another connection's until now
            self._descriptors[parts[0].bytes] = descriptor = int(parts[-1].get(zmq.SRCFD))
            if self._incoming.too_long:
                self._traffic.cut_off(descriptor)
                continue
            name = self._names.get(str(parts[-1].get("User-Id")).encode(), "")
            if not self._traffic.took(descriptor, parts[1:], name):
                continue
            if name:
                yield from self._read(name, parts[0].bytes, parts[1:])

    def _read(self, name: str, connection: bytes, parts: list[zmq.Frame]) -> list[Received]:
        """What is whole with these frames. A member has one long message on its way to here, the newest."""
        if connection not in self._pieces:
            self._pieces[connection] = name, self._new_pieces()
        pieces = self._pieces[connection][1]
        try:
            came = [Received(*message, name, connection) for message in pieces.read(parts)]
        except NodeError as error:  # one member's long message is not worth all members' aggregator
            pieces.drop()
            self._traffic.cut_off(self._descriptors[connection], str(error))
            return []
        came += [Received(header, (), name, connection, size) for header, size in pieces.refused]
        pieces.refused.clear()
        if any(one.header["type"] == "hello" for one in came):
            pieces.drop()
            self._pieces[connection] = name, self._new_pieces()  # both ends begin anew
            return came
        if pieces.arriving is not None:
            for other, theirs in self._pieces.values():
                if other == name and theirs is not pieces:
                    theirs.drop()
        pieces.go_on(partial(self._hand_over, connection))
        return came

    def _follow_connections(self) -> None:
        while int(self._monitor.get(zmq.EVENTS)) & zmq.POLLIN:
            event = recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._traffic.opened(int(event["value"]))
            else:
                gone = int(event["value"])
                self._traffic.closed(gone)
                for one in [one for one, number in self._descriptors.items() if number == gone]:
                    self._forget(one)

    def _forget(self, connection: bytes) -> None:
        self._descriptors.pop(connection, None)
        if connection in self._pieces:
            self._pieces.pop(connection)[1].drop()

    def send(self, connection: bytes, header: dict[str, Any], *frames: bytes) -> bool | None:
        """True when handed over, False when the connection's queue is full, None when there is no such connection any
        more.
        """
        (taken,) = self.send_all([connection], (header, frames))
        return taken

    def send_all(self, connections: Sequence[bytes], *messages: Link) -> list[bool | None]:
        """The same of messages that leave together, to several connections; a long one is alone, and counts as handed
        over when it begins to leave.
        """
        if is_long(messages[0]):
            return [self._begin(connection, messages[0]) for connection in connections]
        parts, waits = parts_of(*messages), any(frames for _, frames in messages)
        return [False if waits and self._leaves(one) else self._hand_over(one, parts) for one in connections]

    def _leaves(self, connection: bytes) -> bool:
        return connection in self._pieces and self._pieces[connection][1].leaves

    def _begin(self, connection: bytes, message: Link) -> bool | None:
        if connection not in self._pieces:
            return None  # who has never said anything
        if self._leaves(connection):
            return False
        pieces = self._pieces[connection][1]
        pieces.begin(message)
        pieces.go_on(partial(self._hand_over, connection))
        return True if connection in self._pieces else None

    def _hand_over(self, connection: bytes, parts: list[zmq.Frame]) -> bool | None:
        descriptor = self._descriptors.get(connection, -1)
        if not self._traffic.has_room(descriptor, parts):
            return False
        try:
            self.socket.send_multipart([connection, *parts], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._forget(connection)
            return None
        self._traffic.handed_over(descriptor, parts)
        return True

    def close(self) -> None:
        """Closes the socket and the authenticator's thread; once more does nothing."""
        if not self.socket.closed:
            self._traffic.stop()
            self.socket.disable_monitor()
            self._monitor.close(linger=0)
            self.socket.close()
            for connection in list(self._pieces):
                self._forget(connection)
            self._authenticator.stop()


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
        _prepare(self.socket, identity, limits)
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
