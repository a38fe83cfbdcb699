"""How messages lie in ZeroMQ's: a small CBOR header, then the envelope and attachments; or, when several leave
together, their headers in one array, then the envelopes and attachments of all in that order. What is longer travels
in pieces.

A peer is alive while whole messages come from it, and on a slow line a long attachment in one would take longer than a
dead peer's silence: it would be cut off and begun again for ever. So nothing is longer than a piece, which also is all
that anybody can make the other end take in one go. What comes is hostile: every size is checked.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import zmq

from hefed.crypto.buffer import Buffer
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.limits import LONGEST_MESSAGE

PIECE = 2**17
"""Bytes of a piece; at 25 kB/s it takes less time than a silence that counts as the peer's end."""
TOGETHER = PIECE
"""Bytes that envelopes and attachments of messages that leave together may have; a longer message leaves in pieces."""
MAX_TOGETHER = 64
"""Messages that may leave together."""
MAX_FRAMES = 1100
"""Envelopes and attachments of messages that leave together, or of one that leaves in pieces."""
MAX_HEADER = 2**18
"""Bytes of a header; a welcome to a hello that asks for as many studies as it may is the longest."""
MAX_PARTS = 1 + MAX_FRAMES
"""Frames of one of ZeroMQ's messages."""
PIECE_FOLLOWS = b""
"""Stands where a header would, before a piece."""


class Kept(Protocol):
    """Bytes that lie on disk, however many, and are read when they leave."""

    def __len__(self) -> int:
        """How many."""

    def pieces(self, size: int) -> Iterator[Buffer]:
        """All of them, in pieces of that size, the last of which may be shorter. Raises GoneError when they are not
        kept any more.
        """


Frame = bytes | memoryview | Kept
Link = tuple[dict[str, Any], tuple[Frame, ...]]
"""A message of the link: its header, and the envelope and attachments behind it."""
Came = tuple[dict[str, Any], tuple[Buffer, ...]]
"""The same as it came."""


class Incoming:
    """What comes over a socket, a message of ZeroMQ's at a time. Of one with too many frames no more than a message can
    have are kept, whatever they hold: ZeroMQ only hands out whole messages, and has no bound of its own on their
    frames.
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


def is_long(message: Link) -> bool:
    """Whether a message leaves in pieces."""
    return sum(map(len, message[1])) > TOGETHER


def together(messages: Iterable[Link]) -> Iterator[list[Link]]:
    """The messages, in order, in lists of those that leave together; a long one is alone."""
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
    """What goes over the wire for messages that leave together; of a long one its header, before its pieces."""
    headers = [
        {**header, "sizes": [len(frame) for frame in frames]} if frames else header for header, frames in messages
    ]
    parts = [zmq.Frame(codec.encode(headers if len(headers) > 1 else headers[0]))]
    if not is_long(messages[0]):
        parts += [zmq.Frame(frame) for _, frames in messages for frame in frames]
    return parts


def pieces_of(message: Link, number: int) -> Iterator[list[zmq.Frame]]:
    """What goes over the wire for a long message, one of ZeroMQ's messages after another; `number` tells it from other
    long ones of the connection.
    """
    header, frames = message
    yield parts_of(({**header, "long": number}, frames))
    for frame in frames:
        for piece in frame_pieces(frame):
            yield [zmq.Frame(PIECE_FOLLOWS), zmq.Frame(piece, copy=True)]


def frame_pieces(frame: Frame) -> Iterator[Buffer]:
    """Bytes in pieces, wherever they lie."""
    if not isinstance(frame, (bytes, memoryview)):
        return frame.pieces(PIECE)
    view = memoryview(frame)
    return (view[start : start + PIECE] for start in range(0, len(view), PIECE))


def headers_of(part: zmq.Frame) -> list[tuple[dict[str, Any], list[int]]]:
    """The headers in the first frame, each with the sizes of its envelope and attachments; none when they are not of
    our form, or state more than there may be.
    """
    if len(part) > MAX_HEADER:
        return []
    try:
        plain = codec.decode(part.bytes)
    except EncodingError:
        return []
    headers = plain if isinstance(plain, list) and len(plain) > 1 else [plain]
    if len(headers) > MAX_TOGETHER or not all(map(_is_header, headers)):
        return []
    found = [(header, header.pop("sizes", [])) for header in headers]
    sizes = [size for _, own in found for size in own]
    if len(sizes) > MAX_FRAMES or sum(sizes) > (LONGEST_MESSAGE if len(found) == 1 else TOGETHER):
        return []
    if any(own and own[0] > codec.MAX_BYTES for _, own in found):
        return []  # longer than an envelope can be
    if sum(sizes) > TOGETHER and "long" not in found[0][0]:
        return []
    return found


def _is_header(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    sizes = value.get("sizes", [0])
    numbers = isinstance(sizes, list) and sizes != [] and all(_is_number(size) for size in sizes)
    return numbers and _is_number(value.get("long", 0))


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0


def messages_of(headers: Sequence[tuple[dict[str, Any], list[int]]], frames: Sequence[zmq.Frame]) -> list[Came]:
    """The messages that came together; none when what follows the headers is not what they state, or has to come in
    pieces.
    """
    sizes = [size for _, own in headers for size in own]
    if [len(frame) for frame in frames] != sizes or sum(sizes) > TOGETHER:
        return []
    found: list[Came] = []
    begin = 0
    for header, own in headers:
        found.append((header, tuple(frame.bytes for frame in frames[begin : begin + len(own)])))
        begin += len(own)
    return found
