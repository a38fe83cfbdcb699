"""Dialling the aggregator: addresses in turn, names resolved each time anew, back-off, a proxy, and why it fails.

Relies on ZeroMQ for the connection itself, with its own reconnecting switched off: after a refused key it would never
try again, and of most failures it says nothing. What may block (a name, a proxy, finding a reason) runs in a thread of
its own that holds no secret. It must not send or read messages.
"""

import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from hefed.node import trouble as t
from hefed.node.limits import USUAL, Limits
from hefed.node.tunnel import ProxyRefusesError, open_tunnel
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import check_address

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
"""Seconds between rounds over all addresses; doubled after each up to `retry_seconds`, and drawn at random around that.
"""
MOST_RESOLVED = 8
"""Addresses of one name that are tried."""

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)

T = TypeVar("T")


def split_address(address: str) -> tuple[str, int]:
    """Host, without brackets, and port. Raises RosterError when it is no address."""
    check_address(address)
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def endpoint(host: str, port: int) -> str:
    """As ZeroMQ writes it."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def in_background(work: Callable[[], T]) -> "Future[T]":
    """Runs something that may block; nobody waits for it at the end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def resolve(host: str, port: int) -> list[str]:
    """The endpoints of a host, in the order of the machine's own preference. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    endpoints = dict.fromkeys(endpoint(str(where[0]), port) for *_, where in found if "%" not in str(where[0]))
    return list(endpoints)[:MOST_RESOLVED]


def why_not(host: str, port: int, seconds: float) -> OSError | None:
    """What a plain connection to that address meets; None when it is taken."""
    try:
        socket.create_connection((host, port), seconds).close()
    except OSError as error:
        return error
    return None


class Dialler:
    """Keeps one socket connected to the first address at which a handshake succeeds; `step` drives it."""

    def __init__(
        self,
        dealer: "zmq.Socket[bytes]",
        addresses: Sequence[str],
        places: t.Places,
        proxy: str | None,
        limits: Limits = USUAL,
    ) -> None:
        """Raises RosterError when there is no address, or one that is none."""
        if not addresses:
            raise RosterError(
                f"the roster of {places.federation} gives no address of {places.aggregator}; have one put into it"
            )
        for one in (*addresses, *([proxy] if proxy else [])):
            check_address(one)
        self._dealer, self._places, self._proxy, self._limits = dealer, places, proxy, limits
        self._addresses = tuple(dict.fromkeys(addresses))
        dealer.setsockopt(zmq.RECONNECT_IVL, -1)
        dealer.setsockopt(zmq.CONNECT_TIMEOUT, int(limits.connect_seconds * 1000))
        dealer.setsockopt(zmq.HANDSHAKE_IVL, int(limits.handshake_seconds * 1000))
        self.monitor = dealer.get_monitor_socket(_EVENTS)
        self.connected = False
        self.address = self._addresses[0]
        """The one that is being tried, or in use."""
        self.descriptor = -1
        """Of the connection in use."""
        self.tried_all = False
        """Whether every address has failed at least once."""
        self._troubles: dict[str, t.Trouble] = {}
        self._turns: deque[str] = deque()
        self._endpoints: deque[str] = deque()
        self._dialled: str | None = None
        self._until = 0.0
        self._due = 0.0
        self._pause = FIRST_PAUSE
        self._tcp = self._noted = False
        self._failure: t.Trouble | None = None
        self._resolving: Future[list[str]] | None = None
        self._asking: Future[OSError | None] | None = None

    def trouble(self) -> t.Trouble | None:
        """Why there is no handshake, as far as is known: of several addresses' causes the one that came farthest, with
        all their sentences.
        """
        if self.connected or not self._troubles:
            return None
        farthest = max(self._troubles.values(), key=lambda one: one.cause.depth)
        return t.Trouble(farthest.cause, "; and ".join(dict.fromkeys(one.sentence for one in self._troubles.values())))

    def settled(self) -> None:
        """The aggregator has greeted us: the next break is a new one."""
        self._pause = FIRST_PAUSE

    def step(self) -> bool:
        """Reads what happened and does what is due; True when a handshake has been completed since."""
        was, fresh = self.connected, False
        while self.monitor.poll(0):
            message = recv_monitor_message(self.monitor)
            fresh = self._on_event(message["event"], int(message["value"])) or fresh
        if self._dialled and not self.connected and time.monotonic() > self._until:
            self._fail(t.mute(self._places, self.address))  # ZeroMQ has bounds of its own; this one is for none of them
        if self._resolving is not None and self._resolving.done():
            self._take_endpoints(self._resolving)
        if self._asking is not None and self._asking.done():
            self._take_reason(self._asking)
        if not (self._dialled or self._resolving or self._asking):
            self._next(time.monotonic())
        if was and not self.connected:
            log.debug("the connection to %s is cut", self.address)
        return fresh and self.connected

    def close(self) -> None:
        """Ends the monitor; the socket is its owner's."""
        self._dealer.disable_monitor()
        self.monitor.close(linger=0)

    # --- what happened ------------------------------------------------------------------------------------------------

    def _on_event(self, event: int, value: int) -> bool:
        if self._dialled is None:
            return False  # of a connection that was given up
        match event:
            case zmq.EVENT_CONNECTED:
                self._tcp, self.descriptor = True, value
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connected = True
                self._troubles.clear()
                self._endpoints.clear()
                self._noted = False
                return True
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._failure = t.unknown_here(self._places, self.address)
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                silent = value == zmq.EAGAIN
                self._failure = (t.mute if silent else t.wrong_key)(self._places, self.address)
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self._failure = t.stranger(self._places, self.address)
            case zmq.EVENT_CLOSED:
                self._on_closed()
            case zmq.EVENT_DISCONNECTED if self.connected:
                self._turns = deque(dict.fromkeys((self.address, *self._addresses)))  # what worked is tried first
                self._fail(t.lost(self._places, self.address))
            case zmq.EVENT_DISCONNECTED:
                self._fail(self._failure or t.stranger(self._places, self.address))
        return False

    def _on_closed(self) -> None:
        """TCP failed; ZeroMQ does not say how, so a plain connection is tried for the reason."""
        where = self._dialled
        if where is None or self._tcp:
            return
        host, port = where.removeprefix("tcp://").rpartition(":")[0].strip("[]"), int(where.rpartition(":")[2])
        self._hang_up()
        self._asking = in_background(lambda: why_not(host, port, self._limits.connect_seconds))

    def _take_reason(self, asked: "Future[OSError | None]") -> None:
        self._asking = None
        error = asked.result()
        if error is not None:
            self._note(t.not_reached(self._places, self.address, error))

    def _take_endpoints(self, resolving: "Future[list[str]]") -> None:
        self._resolving = None
        try:
            self._endpoints.extend(resolving.result())
        except ProxyRefusesError as error:
            self._note(t.proxy_fails(str(self._proxy), self.address, str(error)))
        except (OSError, UnicodeError) as error:
            self._note(t.unresolved(self.address, getattr(error, "strerror", None) or "no such name"))

    def _fail(self, trouble: t.Trouble) -> None:
        self._hang_up()
        self._note(trouble)

    def _note(self, trouble: t.Trouble) -> None:
        # Of several addresses behind one name, too, the one that came farthest tells the most.
        if not self._noted or trouble.cause.depth >= self._troubles[self.address].cause.depth:
            self._troubles[self.address] = trouble
        self._noted = True

    def _hang_up(self) -> None:
        if self._dialled:
            with suppress(zmq.ZMQError):
                self._dealer.disconnect(self._dialled)
        if self.connected:
            self._due = time.monotonic() + self._next_pause()
        self._dialled, self.connected, self._tcp, self._failure, self.descriptor = None, False, False, None, -1

    # --- what is due --------------------------------------------------------------------------------------------------

    def _next(self, now: float) -> None:
        if self._endpoints:
            self._dial(self._endpoints.popleft(), now)
            return
        self.tried_all = self.tried_all or (self._noted and not self._turns)
        if now < self._due:
            return
        if not self._turns:
            self._turns.extend(self._addresses)
        self.address, self._noted = self._turns.popleft(), False
        if not self._turns:
            self._due = now + self._next_pause()  # after this one, should it fail
        self._seek()

    def _next_pause(self) -> float:
        pause = self._pause * random.uniform(0.5, 1.5)  # noqa: S311  so that not all come back at once
        self._pause = min(2 * self._pause, self._limits.retry_seconds)
        return pause

    def _seek(self) -> None:
        host, port = split_address(self.address)
        if self._proxy is not None:
            proxy, address = self._proxy, self.address
            self._resolving = in_background(
                lambda: [open_tunnel(split_address(proxy), split_address(address), self._limits.connect_seconds)]
            )
        elif ":" in host or host.replace(".", "").isdigit():
            self._dial(endpoint(host, port), time.monotonic())
        else:
            self._resolving = in_background(lambda: resolve(host, port))

    def _dial(self, where: str, now: float) -> None:
        self._until = now + self._limits.connect_seconds + self._limits.handshake_seconds + 2
        self._dialled = where
        try:
            self._dealer.connect(where)
        except zmq.ZMQError as error:
            self._dialled = None
            self._note(t.not_reached(self._places, self.address, OSError(error.errno, zmq.strerror(error.errno or 0))))
