"""What stands between a region and the aggregator in tests: lines that are slow, late, or break, and a SOCKS5 proxy."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

Pass = Callable[[socket.socket, socket.socket], None]


class Forwarder:
    """Takes TCP connections and connects each to a target; what passes between is up to the subclasses."""

    def __init__(self, port: int = 0, target: tuple[str, int] | None = None, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self._target = target
        self.connections = 0
        self.bytes_passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            try:
                target = self.greet(near)
                far = socket.create_connection(target) if target else None
            except OSError:
                return
            if far is None:
                return
            with far:
                self.connections += 1
                self.connected(near, far)

    def greet(self, near: socket.socket) -> tuple[str, int] | None:
        """Where a connection is to go."""
        return self._target

    def connected(self, near: socket.socket, far: socket.socket) -> None:
        """Passes bytes both ways until one end closes."""
        up = threading.Thread(target=self.pump, args=(near, far, True), daemon=True)
        up.start()
        self.pump(far, near, False)
        up.join()

    def pump(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        """Passes bytes one way."""
        with suppress(OSError):
            while data := source.recv(4096):
                if not self.forward(data, sink, upwards):
                    break
                self.bytes_passed += len(data)
        hang_up(source, sink)

    def forward(self, data: bytes, sink: socket.socket, upwards: bool) -> bool:
        """Hands bytes on; False ends the connection."""
        sink.sendall(data)
        return True


def hang_up(*ends: socket.socket) -> None:
    """Ends connections with a reset, as a firewall does."""
    for end in ends:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RDWR)


class Throttled(Forwarder):
    """So many bytes a second each way, for each connection."""

    def __init__(self, port: int, target: tuple[str, int], rate: int) -> None:
        self._rate = rate
        super().__init__(port, target)

    def forward(self, data: bytes, sink: socket.socket, upwards: bool) -> bool:
        time.sleep(len(data) / self._rate)
        return super().forward(data, sink, upwards)


class Delaying(Forwarder):
    """Every byte arrives so many seconds later, each way; the order stays."""

    def __init__(self, port: int, target: tuple[str, int], seconds: float) -> None:
        self._seconds = seconds
        super().__init__(port, target)

    def pump(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        line: list[tuple[float, bytes]] = []
        ready = threading.Condition()

        def leave() -> None:
            with suppress(OSError):
                while True:
                    with ready:
                        ready.wait_for(lambda: line)
                        due, data = line.pop(0)
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        break
                    sink.sendall(data)
            hang_up(source, sink)

        threading.Thread(target=leave, daemon=True).start()
        data = b"-"
        while data:
            try:
                data = source.recv(4096)
            except OSError:
                data = b""
            with ready:
                line.append((time.monotonic() + self._seconds, data))
                ready.notify()


class Cutting(Forwarder):
    """Cuts each of its first connections after a number of bytes, wherever that may be."""

    def __init__(self, port: int, target: tuple[str, int], cuts: int, least: int = 9_000, most: int = 30_000) -> None:
        self._left, self._least, self._most = cuts, least, most
        self._random = random.Random(3)  # noqa: S311
        self.cut = 0
        super().__init__(port, target)

    def connected(self, near: socket.socket, far: socket.socket) -> None:
        budget = self._random.randrange(self._least, self._most) if self._left > 0 else None
        self._left -= 1
        up = threading.Thread(target=self._pump, args=(near, far, budget), daemon=True)
        up.start()
        self._pump(far, near, 3 * budget if budget else None)
        up.join()

    def _pump(self, source: socket.socket, sink: socket.socket, budget: int | None) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                sink.sendall(data if budget is None else data[:budget])
                if budget is not None:
                    budget -= len(data)
                    if budget <= 0:
                        self.cut += 1
                        break
        hang_up(source, sink)


class Socks5(Forwarder):
    """A SOCKS5 proxy without a login, which knows the names that it is given."""

    def __init__(self, names: dict[str, tuple[str, int]] | None = None, refuse: int = 0) -> None:
        """`refuse` is the code of RFC 1928 with which it answers everybody."""
        self._names, self._refuse = names or {}, refuse
        self.asked: list[str] = []
        super().__init__()

    def greet(self, near: socket.socket) -> tuple[str, int] | None:
        methods = _exactly(near, 2)[1]
        _exactly(near, methods)
        near.sendall(b"\x05\x00")
        kind = _exactly(near, 4)[3]
        if kind == 3:
            host = _exactly(near, _exactly(near, 1)[0]).decode()
        else:
            host = socket.inet_ntop(
                *((socket.AF_INET, _exactly(near, 4)) if kind == 1 else (socket.AF_INET6, _exactly(near, 16)))
            )
        port = int.from_bytes(_exactly(near, 2))
        self.asked.append(host)
        near.sendall(bytes((5, self._refuse, 0, 1)) + bytes(6))
        return None if self._refuse else self._names.get(host, (host, port))


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise OSError("the connection was closed")
        data += piece
    return data
