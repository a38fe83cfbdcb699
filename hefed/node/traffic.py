"""What a connection may make this process hold: bytes that came and are no message yet, and bytes that wait to leave.

ZeroMQ bounds the size of a frame and the number of whole messages that wait, but neither how many frames a message has
nor the bytes of a queue. So the kernel's own count of each connection (TCP_INFO) is compared with what was taken from
and handed to the socket. Who goes beyond what a message can be is cut off; who does not read is sent no more for now.
Relies on Linux and on the link for saying what happened. A thread of its own looks, since the process may compute for
long while bytes come. It must not read a byte itself.
"""

import logging
import resource
import socket
import struct
import threading
from collections import Counter
from collections.abc import Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from hefed.node.limits import USUAL, Limits
from hefed.node.logs import BoundedLog

log = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between looks."""

_COUNTS = struct.Struct("=QQ")  # tcpi_bytes_acked, tcpi_bytes_received
_OFFSET = 120
_SHORT = 2**16
_SEALED = 33
"""What CURVE adds to a frame; ZMTP then adds 2 bytes or 9."""


@dataclass
class _Counted:
    taken: int = 0
    """What was taken from the socket, in bytes on the wire."""
    handed: int = 0
    """What had been handed over, in bytes on the wire; never behind what the kernel knows to have arrived."""
    acked: int = 0
    spoke: bool = False
    address: str = ""
    who: str = ""


class Traffic:
    """The connections of one socket, by their descriptors."""

    def __init__(
        self,
        most: int = USUAL.unread_bytes,
        most_before: int = USUAL.unread_bytes_silent,
        most_together: int = USUAL.most_unread_together,
        window: int = USUAL.waiting_bytes,
        strangers: int = USUAL.connections_silent,
        connections: int = USUAL.connections,
        of_one: int = USUAL.connections_member,
    ) -> None:
        """Of connections that say nothing the oldest are cut off beyond `strangers`: a member says hello within a
        fraction of a second. Of those that have, and of one member's, the newest are.
        """
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        bounded = files != resource.RLIM_INFINITY
        self._strangers = min(strangers, files // 4) if bounded else strangers
        self._connections, self._of_one = min(connections, files * 3 // 4) if bounded else connections, of_one
        self._most, self._most_before, self._most_together, self._window = most, most_before, most_together, window
        self._open: dict[int, _Counted] = {}
        self._lines = BoundedLog(log, "whoever connects")
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @classmethod
    def under(cls, limits: Limits, *, at_member: bool = False) -> Self:
        """As the limits say; to a member the aggregator is no stranger."""
        before = limits.unread_bytes if at_member else limits.unread_bytes_silent
        return cls(
            limits.unread_bytes,
            before,
            limits.most_unread_together,
            limits.waiting_bytes,
            limits.connections_silent,
            limits.connections,
            limits.connections_member,
        )

    def start(self) -> None:
        """Looks after the connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more: the descriptors may become other files' now."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.thin_out()
            for _ in self.cut():
                self._lines.log(
                    logging.WARNING,
                    "a connection is cut off: it brought more than any message has, and nothing that is whole",
                )

    def opened(self, descriptor: int) -> None:
        """A connection was made; an earlier one of that descriptor is over."""
        with self._lock:
            self._open.pop(descriptor, None)  # so that the newest is the last
            self._open[descriptor] = _Counted(address=_address(descriptor))

    def closed(self, descriptor: int) -> None:
        """A connection is over."""
        with self._lock:
            self._open.pop(descriptor, None)

    def forget(self) -> None:
        """All connections are over."""
        with self._lock:
            self._open.clear()

    def took(self, descriptor: int, frames: Sequence[Sized], who: str = "") -> bool:
        """A whole message of a connection was taken from the socket; False when `who`, whose it is, has as many others
        as it may: then it is cut off.
        """
        with self._lock:
            one = self._open.get(descriptor)
            if one is None:
                return True
            one.taken += _on_wire(frames)
            if who and not one.who and sum(other.who == who for other in self._open.values()) >= self._of_one:
                del self._open[descriptor]
                _shut(descriptor)
                self._lines.log(logging.WARNING, f"a connection of {who} is cut off: it has {self._of_one} others")
                return False
            one.spoke, one.who = True, who
            return True

    def has_room(self, descriptor: int, frames: Sequence[Sized]) -> bool:
        """Whether little enough waits to leave over a connection that a further message may; a short one always may."""
        one = self._open.get(descriptor)
        if one is None or one.handed - one.acked <= self._window or _on_wire(frames) <= _SHORT:
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
            one.handed += _on_wire(frames)

    def cut_off(self, descriptor: int, why: str = "it brought a message of more frames than any has") -> None:
        """Ends a connection over which came what no message is, or what there is no room for."""
        with self._lock:
            if self._open.pop(descriptor, None) is not None:
                _shut(descriptor)
                self._lines.log(logging.WARNING, f"a connection is cut off: {why}")

    def thin_out(self) -> int:
        """Cuts off the oldest of too many connections that say nothing, of one address or in all, and the newest of too
        many others; returns how many.
        """
        with self._lock:
            silent = [(number, one.address) for number, one in self._open.items() if not one.spoke]
            of_one = Counter(address for _, address in silent)
            excess, gone = max(len(silent) - self._strangers, len(self._open) - self._connections), 0
            for descriptor, address in silent:
                if excess > gone or of_one[address] > max(1, self._strangers // 4):
                    gone, of_one[address] = gone + 1, of_one[address] - 1
                    del self._open[descriptor]
                    _shut(descriptor)
            newest = list(self._open)[self._connections :]
            for descriptor in newest:
                del self._open[descriptor]
                _shut(descriptor)
        if newest:
            self._lines.log(
                logging.WARNING, f"{len(newest)} connections are cut off: there are {self._connections} others"
            )
        if gone:
            self._lines.log(logging.WARNING, f"{gone} connections are cut off: too many that say nothing")
        return gone + len(newest)

    def cut(self) -> list[int]:
        """Cuts off who has brought too much that was not taken yet; returns their descriptors. Signs of life that
        ZeroMQ itself takes count as such too: megabytes in a day.
        """
        with self._lock:
            return self._cut()

    def _cut(self) -> list[int]:
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
            del self._open[descriptor]
            _shut(descriptor)
        return offenders


def _on_wire(frames: Sequence[Sized]) -> int:
    sealed = [len(frame) + _SEALED for frame in frames]
    return sum(sealed) + sum(9 if size > 255 else 2 for size in sealed)


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


def _address(descriptor: int) -> str:
    """The other end's, without its port; empty when the connection is over."""
    with suppress(OSError):
        borrowed = socket.socket(fileno=descriptor)
        try:
            return str(borrowed.getpeername()[0])
        finally:
            borrowed.detach()
    return ""


def _shut(descriptor: int) -> None:
    """Ends a connection; its owner, ZeroMQ, notices and closes it."""
    with suppress(OSError):
        borrowed = socket.socket(fileno=descriptor)
        try:
            borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()
