"""The wire between a member and the aggregator: ZeroMQ over TCP with CURVE, keys from the roster only.

Members dial out (DEALER) to the aggregator's one port (ROUTER). Each frame list begins with a small CBOR header;
envelopes and attachments follow as they
are. Delivery is exactly once and in order by numbers, not by trust in the socket: a member says which entry it wants
next, the aggregator says how many
messages it has, and after any break both begin there again. CURVE protects the link; privacy never depends on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from hefed.node.errors import NodeError
from hefed.node.identity import Identity
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.messages import MAX_ATTACHMENT
from hefed.protocol.roster import Roster

LINK_VERSION = 1
BEAT = 1.0
"""Seconds between signs of life."""
QUEUE = 256
"""Messages that may wait on a connection; what does not fit is sent again from disk later.

So many are also taken in one turn: who sends without end keeps nobody from being answered.
"""
MAX_FRAMES = 1100
_HEARTBEAT_MS = 2000
_TIMEOUT_MS = 6000


@dataclass(frozen=True)
class Received:
    """What came over a link: its header, the frames behind it and, at the aggregator, whose connection it came from."""

    header: dict[str, Any]
    frames: tuple[bytes, ...]
    sender: str = ""
    connection: bytes = b""


def _prepare(socket: zmq.Socket[bytes], identity: Identity) -> None:
    socket.curve_secretkey = z85.encode(identity.transport_secret)
    socket.curve_publickey = z85.encode(identity.transport_public)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = QUEUE
    socket.maxmsgsize = MAX_ATTACHMENT
    socket.ipv6 = True
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, _TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)


def _header(frame: bytes) -> dict[str, Any] | None:
    if len(frame) > 2**20:
        return None
    try:
        header = codec.decode(frame)
    except EncodingError:
        return None
    return header if isinstance(header, dict) and isinstance(header.get("type"), str) else None


class AggregatorLink:
    """The aggregator's end: accepts members of the roster, knows each by its key."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], identity: Identity, roster: Roster, endpoint: str
    ) -> None:
        """Binds `endpoint`, for instance tcp://127.0.0.1:0. Raises NodeError when the port is taken."""
        self._names = {z85.encode(member.transport): member.name for member in roster.members}
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain="*", credentials_provider=self)
        self.socket = context.socket(zmq.ROUTER)
        _prepare(self.socket, identity)
        self.socket.curve_server = True
        self.socket.router_mandatory = True
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise NodeError(
                f"cannot listen on {endpoint}: {error.strerror}; choose another port or stop what uses it"
            ) from error
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def callback(self, domain: str, key: bytes) -> bool:
        """Called by the authenticator: whether a key is on the roster."""
        return key in self._names

    def receive(self) -> Iterator[Received]:
        """What has arrived. Frames that are not of our form are dropped; nobody but members can send any."""
        for _ in range(QUEUE):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            name = self._names.get(str(parts[-1].get("User-Id")).encode(), "")
            header = _header(parts[1].bytes) if 2 <= len(parts) <= MAX_FRAMES else None
            if name and header:
                yield Received(header, tuple(part.bytes for part in parts[2:]), name, parts[0].bytes)

    def send(self, connection: bytes, header: dict[str, Any], *frames: bytes) -> bool | None:
        """True when handed over, False when the connection's queue is full, None when there is no such connection any
        more.
        """
        try:
            self.socket.send_multipart([connection, codec.encode(header), *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return None
        return True

    def close(self) -> None:
        """Closes the socket and the authenticator's thread."""
        if hasattr(self, "socket"):
            self.socket.close()
        self._authenticator.stop()


class MemberLink:
    """A member's end: one outbound connection, to the aggregator's key and no other; reconnects by itself with back-
    off.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], identity: Identity, roster: Roster, endpoint: str
    ) -> None:
        self.socket = context.socket(zmq.DEALER)
        _prepare(self.socket, identity)
        self.socket.curve_serverkey = z85.encode(roster.aggregator.transport)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 10_000)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self.connected = False
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise NodeError(f"'{endpoint}' is no address to connect to: {error.strerror}") from error

    def news(self) -> bool:
        """Reads the connection's events; True when a handshake has just been completed, so that a greeting is due."""
        fresh = False
        while self.monitor.poll(0):
            event = recv_monitor_message(self.monitor)["event"]
            self.connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            fresh = self.connected
        return fresh

    def receive(self) -> Iterator[Received]:
        """What has arrived."""
        for _ in range(QUEUE):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            header = _header(parts[0]) if len(parts) <= MAX_FRAMES else None
            if header:
                yield Received(header, tuple(parts[1:]))

    def send(self, header: dict[str, Any], *frames: bytes) -> bool:
        """False when there is no connection or its queue is full; what matters is sent again after a greeting."""
        if not self.connected:
            return False
        try:
            self.socket.send_multipart([codec.encode(header), *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Closes the connection."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()
