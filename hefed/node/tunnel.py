"""A connection through a SOCKS5 proxy: one local door, whose bytes pass through the proxy to the aggregator.

ZeroMQ's own SOCKS5 ends the whole process when a proxy refuses, so python-socks speaks to the proxy and this passes
bytes on. What passes is encrypted to the aggregator's key; nothing here reads it. The proxy resolves the name.
"""

import socket
import threading
from contextlib import suppress

from python_socks import ProxyError
from python_socks.sync import Proxy

DOOR_SECONDS = 10.0
"""How long the local door waits for the one connection it is for."""
_PIECE = 2**16


class ProxyRefusesError(Exception):
    """The proxy is not to be reached or does not connect; the words say which."""


def open_tunnel(proxy: tuple[str, int], target: tuple[str, int], seconds: float) -> str:
    """Connects through the proxy and returns the endpoint, on the loopback, of a door for one connection.

    Raises ProxyRefusesError.
    """
    try:
        far = Proxy.from_url(f"socks5://{_host(proxy[0])}:{proxy[1]}", rdns=True).connect(*target, timeout=seconds)
    except UnicodeDecodeError as error:
        raise ProxyRefusesError("its answer is not one of a SOCKS5 proxy") from error
    except (ProxyError, OSError) as error:
        raise ProxyRefusesError(_reason(error)) from error
    far.settimeout(None)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    door = socket.create_server(("127.0.0.1", 0), backlog=1)
    door.settimeout(DOOR_SECONDS)
    threading.Thread(target=_serve, args=(door, far), daemon=True).start()
    return f"tcp://127.0.0.1:{door.getsockname()[1]}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reason(error: Exception) -> str:
    inner = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(inner, socket.gaierror):
        return "its name does not resolve"
    if isinstance(inner, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(inner, TimeoutError) or "timed out" in str(error).lower():
        return "it does not answer"
    if isinstance(inner, ConnectionError):
        return "it closes the connection"
    # The proxy's own words, or those about it.
    words = "".join(sign for sign in str(error) if sign.isprintable())[:200].strip(" .").lower()
    return words or "it closes the connection"


def _serve(door: socket.socket, far: socket.socket) -> None:
    with far:
        try:
            with door:
                near, _ = door.accept()
        except OSError:
            return
        with near:
            near.settimeout(None)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
