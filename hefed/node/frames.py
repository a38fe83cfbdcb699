"""How a message lies in ZeroMQ's frames: a small CBOR header, then the envelope and attachments in pieces.

A peer is alive while whole frames come from it, and on a slow line a long attachment in one frame would take longer
than a dead peer's silence: it would be cut off and begun again for ever. So nothing is longer than a piece, which also
is all that anybody can make the other end take in one go. What comes is hostile: every size is checked.
"""

import time
from collections.abc import Sequence
from typing import Any

import zmq

from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.limits import LONGEST_MESSAGE

PIECE = 2**17
"""Bytes of a piece; at 25 kB/s it takes less time than a silence that counts as the peer's end."""
MAX_FRAMES = 1100
"""Envelope and attachments of one message."""
MAX_HEADER = 2**18
"""Bytes of a header; a welcome to a hello that asks for as many studies as it may is the longest."""
MAX_PARTS = 1 + MAX_FRAMES + LONGEST_MESSAGE // PIECE
"""Of ZeroMQ's frames for one message."""


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


def parts_of(header: dict[str, Any], frames: Sequence[bytes]) -> list[zmq.Frame]:
    """What goes over the wire. The frames' memory is shared, not copied."""
    if frames:
        header = {**header, "sizes": [len(frame) for frame in frames]}
    parts = [zmq.Frame(codec.encode(header))]
    for frame in frames:
        view = memoryview(frame)
        parts += [zmq.Frame(view[start : start + PIECE], copy=False) for start in range(0, len(view) or 1, PIECE)]
    return parts


def message_of(parts: Sequence[zmq.Frame]) -> tuple[dict[str, Any], tuple[bytes, ...]] | None:
    """Header and frames; None when the parts are not of our form."""
    if not 1 <= len(parts) <= MAX_PARTS or len(parts[0]) > MAX_HEADER:
        return None
    try:
        header = codec.decode(parts[0].bytes)
    except EncodingError:
        return None
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        return None
    frames = _frames(header.pop("sizes", []), parts[1:])
    return None if frames is None else (header, frames)


def _frames(sizes: object, pieces: Sequence[zmq.Frame]) -> tuple[bytes, ...] | None:
    if not isinstance(sizes, list) or len(sizes) > MAX_FRAMES:
        return None
    if not all(type(size) is int and 0 <= size <= LONGEST_MESSAGE for size in sizes):
        return None
    if sum(sizes) > LONGEST_MESSAGE:
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
