"""Numbers for Prometheus, on a loopback port of this machine: GET /metrics.

Relies on prometheus_client, and on the status that the node keeps of itself. Must not tell a study's name or hash, or
anything about patients: whoever has an account on the machine can read this page. It answers one request at a time, so
that nobody can use up the threads or the open files of the node by it.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from socket import SHUT_RDWR, socket
from socketserver import TCPServer
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hefed import __version__
from hefed.node.errors import NodeError
from hefed.node.logs import places
from hefed.protocol import ending
from hefed.protocol.roster import read_day
from hefed.protocol.rules import RUNNING, Phase

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
REQUEST_SECONDS = 5.0
"""How long a client may be silent in its request."""

Status = Mapping[str, Any]


class Metrics:
    """The page, served by a thread of its own until `close`."""

    def __init__(self, port: int, status: Callable[[], Status]) -> None:
        """See `serve`."""
        registry = CollectorRegistry(support_collectors_without_names=True)
        registry.register(_Status(status))
        ProcessCollector(registry=registry)  # memory, open files, processor time, start
        try:
            self._server = _Server((ADDRESS, port), _Request)
        except OverflowError:
            raise NodeError(f"the metrics cannot be served on port {port}; a port is a number up to 65535") from None
        except OSError as error:
            raise NodeError(
                f"the metrics cannot be served on {ADDRESS}:{port}: {(error.strerror or 'unknown reason').lower()}; "
                "set another metrics_port, or stop what uses this one"
            ) from error
        self._server.set_app(_guarded(make_wsgi_app(registry)))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving and frees the port; at once, also when a client is in the middle of its request."""
        self._server.stop()
        self._thread.join(REQUEST_SECONDS)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(port: int, status: Callable[[], Status]) -> Metrics:
    """Serves the metrics on a loopback port from now on; 0 takes a free one, which `port` of the answer tells.

    `status` is called at each request, by another thread than the node's: it must give a finished dictionary, not one
    that the node still changes. Read are `role`; of a region `connected`, `messages_sent` and `bytes_sent`; of an
    aggregator `members` with their `name` and `connected`; of both `identity_ends`, a day, and `studies`, each with
    `phase`, `expires`, and in a region `state`: "pending" while it waits for the region's approval. What is missing is
    not shown. Raises NodeError when there is no such port.
    """
    return Metrics(port, status)


class _Status(Collector):
    """The node's status as metrics."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """Nothing: to be registered must not ask for a status yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All that the status has."""
        status = self._status()
        info = {"version": __version__, "role": str(status.get("role", "unknown"))}
        yield InfoMetricFamily("hefed", "What runs here.", value=info)
        if "connected" in status:
            yield GaugeMetricFamily(
                "hefed_connected", "1 once the aggregator has greeted this region.", value=float(status["connected"])
            )
        if "members" in status:
            yield _members(status["members"])
        if status.get("identity_ends"):
            yield GaugeMetricFamily(
                "hefed_identity_end_timestamp_seconds",
                "When the last day of this member's identity is over; there is none for an identity without an end.",
                value=ending.over(read_day(status["identity_ends"])),
            )
        if "studies" in status:
            yield from _studies(status["studies"])
        for key, unit in (("messages_sent", "Messages"), ("bytes_sent", "Bytes of messages")):
            if key in status:
                yield CounterMetricFamily(
                    f"hefed_{key}", f"{unit} sent since the process started.", value=float(status[key])
                )


def _members(members: Iterable[Status]) -> Metric:
    connected = GaugeMetricFamily("hefed_member_connected", "1 for a member that is connected.", labels=["member"])
    for member in members:
        connected.add_metric([str(member["name"])], float(member["connected"]))
    return connected


def _studies(studies: Iterable[Status]) -> Iterator[Metric]:
    """Every state and phase that there can be, also with 0: an alarm on what has never been would not work."""
    numbers = dict.fromkeys([("pending", Phase.APPROVAL.value), *(("running", phase.value) for phase in RUNNING)], 0)
    deadlines = []
    for study in studies:
        key = str(study.get("state", "running")), str(study["phase"])
        if Phase.ENDED in key:  # still shown to people for a while
            continue
        numbers[key] = numbers.get(key, 0) + 1
        deadlines.append(float(study["expires"]))
    family = GaugeMetricFamily("hefed_studies", "Studies that have not ended.", labels=["state", "phase"])
    for (state, phase), number in numbers.items():
        family.add_metric([state, phase], number)
    yield family
    if deadlines:
        yield GaugeMetricFamily(
            "hefed_next_deadline_timestamp_seconds", "When the first of the studies expires.", value=min(deadlines)
        )


def _guarded(application: WSGIApplication) -> WSGIApplication:
    """An error of our own is a line in the log and a short answer; wsgiref would print its words."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return application(environ, start_response)
        except Exception as error:
            log.error("metrics: an error of our own, %s", places(error))
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"an error of hefed; see its log\n"]

    return guarded


class _Server(WSGIServer):
    """Answers one request at a time, asks no name server, and drops a client when it has to stop."""

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._lock, self._stopping = threading.Lock(), False
        self._current: socket | None = None
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of this machine's name, which can take minutes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """One request, whose connection `stop` can cut."""
        with self._lock:
            self._current = request
            if self._stopping:
                self.shutdown_request(request)
                return
        super().process_request(request, client_address)
        with self._lock:
            self._current = None

    def stop(self) -> None:
        """Ends `serve_forever`, without waiting for a client, and frees the port."""
        with self._lock:
            self._stopping = True
            if self._current is not None:
                with suppress(OSError):  # it is gone already
                    self._current.shutdown(SHUT_RDWR)
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or was silent for too long: nothing to tell."""


class _Request(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """No line for each request."""
