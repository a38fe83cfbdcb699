"""The aggregator's end of the links: one port for all members, each known by its key.

Relies on `link` for what both ends share. It must not look at what messages say beyond their headers.
"""

import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from hefed.node.errors import NodeError
from hefed.node.frames import Incoming, Link, is_long, parts_of
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.link import TURN, Received, prepare
from hefed.node.pieces import Pieces
from hefed.node.traffic import Traffic
from hefed.protocol.roster import Roster


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
        prepare(self.socket, identity, limits)
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
