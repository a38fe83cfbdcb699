"""The wire between a member and the aggregator: ZeroMQ over TCP with CURVE, keys from the roster only.

Members dial out (DEALER, `member_link`) to the aggregator's one port (ROUTER, `aggregator_link`); here is what both
ends share. `frames` says how messages lie in ZeroMQ's, `pieces` how a long one travels, `handshake` how the ends greet
each other, and `traffic` bounds what they hold. Delivery is exactly once and in order by numbers, not by trust in the
socket: a member says which entry it wants next, the aggregator says how many messages it has, and after any break both
begin there again. CURVE protects the link; privacy never depends on it.
"""

from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils import z85

from hefed.crypto.buffer import Buffer
from hefed.node.identity import Identity
from hefed.node.limits import Limits

BEAT = 1.0
"""Seconds between signs of life."""
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


def prepare(socket: "zmq.Socket[bytes]", identity: Identity, limits: Limits) -> None:
    """The keys and bounds of either end's socket."""
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
