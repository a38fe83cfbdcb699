"""How messages lie in ZeroMQ's frames: a small CBOR header, then the envelope and attachments in pieces; or, when
several leave together, their headers in one array, then the envelopes and attachments of all in that order.

A peer is alive while whole frames come from it, and on a slow line a long attachment in one frame would take longer
than a dead peer's silence: it would be cut off and begun again for ever. So nothing is longer than a piece, which also
is all that anybody can make the other end take in one go. What comes is hostile: every size is checked.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import zmq

from hefed.node.traffic import MOST
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError

PIECE = 2**17
"""Bytes of a piece; at 25 kB/s it takes less time than a silence that counts as the peer's end."""
MAX_FRAMES = 1100
"""Envelopes and attachments of messages that come together."""
MAX_HEADER = 2**18
"""Bytes of a header; a welcome to a hello that asks for as many studies as it may is the longest."""
MAX_PARTS = 1 + MAX_FRAMES + MOST // PIECE
"""Of ZeroMQ's frames for messages that come together."""
MAX_PART = 2**21
"""Bytes of one of ZeroMQ's frames, before and after it is known whose."""
MAX_TOGETHER = 64
"""Messages that may leave together."""
TOGETHER = PIECE
"""Bytes from which a message leaves alone: what is long gains nothing, and others would wait for it."""

Link = tuple[dict[str, Any], tuple[bytes, ...]]
"""A message of the link: its header, and the envelope and attachments behind it."""


class Incoming:
    """What comes over a socket, a message at a time. Of one with too many frames no more than a message can have are
    kept, whatever they hold: ZeroMQ only hands out whole messages, and has no bound of its own on their frames.
    """

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self.too_long = False
        """Whether the message that was taken last has too many frames; the rest of them is still to be thrown away."""

    def take(self, until: float) -> list[zmq.Frame] | None:
        """The frames of the next message, whose address counts as one, or the first of them when it is too long. None
        when there is none, or the time (monotonic) is over: throwing away goes on with the next call.
        """
        while time.monotonic() < until:
            try:
                frames = [self._socket.recv(zmq.NOBLOCK, copy=False)]
                while frames[-1].more and not self.too_long and len(frames) <= MAX_PARTS:
                    frames.append(self._socket.recv(zmq.NOBLOCK, copy=False))
            except zmq.Again:
                return None
            rest, self.too_long = self.too_long, bool(frames[-1].more)
            if not rest:
                return frames
        return None


def together(messages: Iterable[Link]) -> Iterator[list[Link]]:
    """The messages, in order, in lists of those that leave together."""
    some: list[Link] = []
    size = 0
    for message in messages:
        own = sum(map(len, message[1]))
        if some and (size + own > TOGETHER or len(some) == MAX_TOGETHER):
            yield some
            some, size = [], 0
        some.append(message)
        size += own
    if some:
        yield some


def parts_of(*messages: Link) -> list[zmq.Frame]:
    """What goes over the wire for messages that leave together. The memory of long frames is shared, not copied."""
    headers = [
        {**header, "sizes": [len(frame) for frame in frames]} if frames else header for header, frames in messages
    ]
    parts = [zmq.Frame(codec.encode(headers if len(headers) > 1 else headers[0]))]
    for _, frames in messages:
        for frame in frames:
            if len(frame) < PIECE:
                parts.append(zmq.Frame(frame, copy=True))
                continue
            view = memoryview(frame)
            parts += [zmq.Frame(view[start : start + PIECE], copy=False) for start in range(0, len(view), PIECE)]
    return parts


def messages_of(parts: Sequence[zmq.Frame]) -> list[Link]:
    """The messages that came together; none when the parts are not of our form."""
    if not 1 <= len(parts) <= MAX_PARTS or len(parts[0]) > MAX_HEADER:
        return []
    try:
        plain = codec.decode(parts[0].bytes)
    except EncodingError:
        return []
    headers = plain if isinstance(plain, list) and len(plain) > 1 else [plain]
    if len(headers) > MAX_TOGETHER or not all(map(_is_header, headers)):
        return []
    sizes = [header.pop("sizes", []) for header in headers]
    if not all(isinstance(own, list) for own in sizes):
        return []
    frames = _frames([size for own in sizes for size in own], parts[1:])
    if frames is None:
        return []
    found, begin = [], 0
    for header, own in zip(headers, sizes, strict=True):
        found.append((header, frames[begin : begin + len(own)]))
        begin += len(own)
    return found


def _is_header(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _frames(sizes: list[Any], pieces: Sequence[zmq.Frame]) -> tuple[bytes, ...] | None:
    if len(sizes) > MAX_FRAMES:
        return None
    if not all(type(size) is int and 0 <= size <= MOST for size in sizes) or sum(sizes) > MOST:
        return None
    counts = [max(1, -(-size // PIECE)) for size in sizes]
    if sum(counts) != len(pieces):
        return None
    frames, start = [], 0
    for size, count in zip(sizes, counts, strict=True):
        own = pieces[start : start + count]
        frame = own[0].bytes if count == 1 else b"".join(piece.buffer for piece in own)
        if len(frame) != size or any(len(piece) != PIECE for piece in own[:-1]):
            return None
        frames.append(frame)
        start += count
    return tuple(frames)
