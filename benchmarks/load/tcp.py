"""What the kernel counted on this process's connections, envelopes, encryption and handshakes of the link included."""

import os
import socket
import struct
import threading

_COUNTS = struct.Struct("=QQ")
_OFFSET = 120
"""Of bytes_acked in struct tcp_info of linux/tcp.h; bytes_received follows."""
_OFTEN = 2.0
"""Seconds between looks; what a connection carries in its last moment before it breaks is not seen."""
_ALL_ANEW = 20
"""Looks after which a number that was no socket's is looked at again: with hundreds of regions most are none."""


class Meter:
    """Adds up what this process receives from and sends to a port, over all connections that there ever were."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._seen: dict[str, tuple[int, int]] = {}
        self._others: set[str] = set()
        self._looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stop.wait(_OFTEN):
            self._look()

    def _look(self) -> None:
        self._looks += 1
        if self._looks % _ALL_ANEW == 0:
            self._others.clear()
        for entry in set(os.listdir("/proc/self/fd")) - self._others:
            try:
                name = os.readlink(f"/proc/self/fd/{entry}")
                if not name.startswith("socket:"):
                    self._others.add(entry)
                    continue
                with socket.socket(fileno=os.dup(int(entry))) as connection:
                    if connection.getpeername()[1] != self._port:
                        continue
                    counts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _COUNTS.size)
            except (OSError, IndexError):
                continue  # closed meanwhile, not connected, or no TCP
            self._seen[name] = _COUNTS.unpack_from(counts, _OFFSET)

    def end(self) -> tuple[int, int, int]:
        """Bytes received, bytes sent, and how many connections there were. Call it while the last are open."""
        self._stop.set()
        self._thread.join()
        self._look()
        sent, received = (sum(column) for column in zip((0, 0), *self._seen.values(), strict=True))
        return received, sent, len(self._seen)
