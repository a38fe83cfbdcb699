"""What a connection may make this process hold: bytes that came and are no message yet, and bytes that wait to leave.

ZeroMQ bounds the size of a frame and the number of whole messages that wait, but neither how many frames a message has
nor the bytes of a queue. So the kernel's own count of each connection (TCP_INFO) is compared with what was taken from
and handed to the socket. Who goes beyond what a message can be is cut off; who does not read is sent no more for now.
Relies on Linux and on the link for saying what happened. It must not read a byte itself.
"""

import socket
import struct
from collections.abc import Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass

from hefed.protocol.codec import MAX_BYTES
from hefed.protocol.messages import MAX_ATTACHMENT

MOST = MAX_ATTACHMENT + 16 * MAX_BYTES
"""Bytes of one message with all its frames."""
MOST_BEFORE = 2**21
"""Bytes of a connection over which no message has come yet: a handshake and a greeting are far shorter."""
MOST_TOGETHER = 4 * 2**30
"""Bytes of all messages that are not whole yet; beyond it the longest is cut off."""
WINDOW = 2**25
"""Bytes that may wait to leave before a further message is held back; one message goes in any case."""

_COUNTS = struct.Struct("=QQ")  # tcpi_bytes_acked, tcpi_bytes_received
_OFFSET = 120
_SHORT = 2**16
_FRAME = 42
"""What ZMTP and CURVE add to a frame, at most."""


@dataclass
class _Counted:
    taken: int = 0
    """What the kernel had received when a message was last taken."""
    handed: int = 0
    """What had been handed over, in bytes on the wire; never behind what the kernel knows to have arrived."""
    acked: int = 0
    spoke: bool = False


class Traffic:
    """The connections of one socket, by their descriptors."""

    def __init__(
        self, most: int = MOST, most_before: int = MOST_BEFORE, most_together: int = MOST_TOGETHER, window: int = WINDOW
    ) -> None:
        self._most, self._most_before, self._most_together, self._window = most, most_before, most_together, window
        self._open: dict[int, _Counted] = {}

    def opened(self, descriptor: int) -> None:
        """A connection was made; an earlier one of that descriptor is over."""
        self._open[descriptor] = _Counted()

    def closed(self, descriptor: int) -> None:
        """A connection is over."""
        self._open.pop(descriptor, None)

    def forget(self) -> None:
        """All connections are over."""
        self._open.clear()

    def took(self, descriptor: int) -> None:
        """A whole message of a connection was taken from the socket."""
        counts = _read(descriptor)
        if counts is not None:
            one = self._open.setdefault(descriptor, _Counted())
            one.spoke, one.taken = True, counts[1]

    def has_room(self, descriptor: int, frames: Sequence[Sized]) -> bool:
        """Whether little enough waits to leave over a connection that a further message may; a short one always may."""
        one = self._open.get(descriptor)
        if one is None or one.handed - one.acked <= self._window or sum(map(len, frames)) <= _SHORT:
            return True
        counts = _read(descriptor)
        if counts is None:
            return True  # it is over; ZeroMQ will say so
        one.acked = counts[0]
        one.handed = max(one.handed, one.acked)  # what ZeroMQ sends of its own accord is counted by the kernel alone
        return one.handed - one.acked <= self._window

    def handed_over(self, descriptor: int, frames: Sequence[Sized]) -> None:
        """A message was handed to the socket for a connection."""
        one = self._open.get(descriptor)
        if one is not None:
            one.handed += sum(map(len, frames)) + _FRAME * len(frames)

    def cut(self) -> list[int]:
        """Cuts off who has sent too much without a whole message; to be called when all whole ones were taken.

        Returns their descriptors.
        """
        unread = {}
        for descriptor, one in self._open.items():
            counts = _read(descriptor)
            if counts is not None:
                unread[descriptor] = counts[1] - one.taken
        most = {number: self._most if self._open[number].spoke else self._most_before for number in unread}
        offenders = [number for number, size in unread.items() if size > most[number]]
        if not offenders and sum(unread.values()) > self._most_together:
            offenders = [max(unread, key=lambda number: unread[number])]
        for descriptor in offenders:
            self.closed(descriptor)
            _shut(descriptor)
        return offenders


def _read(descriptor: int) -> tuple[int, int] | None:
    """What the kernel counted of a connection, acknowledged and received; None when it is over."""
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _COUNTS.size)
    except OSError:
        return None
    finally:
        borrowed.detach()
    if len(info) < _OFFSET + _COUNTS.size:
        return None
    acked, received = _COUNTS.unpack_from(info, _OFFSET)
    return acked, received


def _shut(descriptor: int) -> None:
    """Ends a connection; its owner, ZeroMQ, notices and closes it."""
    with suppress(OSError):
        borrowed = socket.socket(fileno=descriptor)
        try:
            borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()
