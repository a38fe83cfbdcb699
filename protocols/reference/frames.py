"""How messages lie in ZeroMQ's over one connection, as "Links" in `protocols/messages.md` defines it.

NOT FOR PRODUCTION: it keeps in memory what comes. Relies on `cbor.py` and `primitives.py`; must not import hefed. What
headers say beside `type`, `sizes` and `long` is not looked at here, nor what is the sender's duty alone.
"""

from typing import Any

from protocols.reference import cbor
from protocols.reference.primitives import RefusedError

PIECE = 131072
LONGEST_HEADER = 256 * 1024
LONGEST_ENVELOPE = 4 * 2**20
LONGEST_MESSAGE = 967108864
MOST_FRAMES = 1100
MOST_TOGETHER = 64

Header = dict[str, Any]
Message = tuple[Header, list[bytes]]


class Connection:
    """What comes over one connection. `read` takes the next of ZeroMQ's messages."""

    def __init__(self) -> None:
        self.header: Header = {}
        self.sizes: list[int] = []
        self.expected: list[int] = []  # the lengths of the pieces of a long message that are to come
        self.came = b""

    def read(self, parts: list[bytes]) -> list[Message]:
        """
        The messages that are whole with it. Refused: another form; a piece that must not follow, which ends the long
        message.

        Pre-conditions:

            - `len(parts) >= 1`, as ZeroMQ has no other messages
        """
        first, *frames = parts
        if first == b"" and len(frames) == 1:
            return self.take_piece(frames[0])
        headers = read_headers(first)
        sizes = [size for header in headers for size in header.get("sizes", [])]
        if sum(sizes) > PIECE:
            if len(headers) > 1 or frames:
                raise RefusedError("frames", "more than fits into one of ZeroMQ's messages")
            self.begin(headers[0])
            return []
        if [len(frame) for frame in frames] != sizes:
            raise RefusedError("frames", "other frames than the headers say")
        messages = []
        for header in headers:
            own = len(header.pop("sizes", []))
            messages.append((header, frames[:own]))
            frames = frames[own:]
        return messages

    def begin(self, header: Header) -> None:
        """A long message, whose pieces follow."""
        if header.pop("long", None) is None:
            raise RefusedError("frames", "a long message without a number")
        self.sizes, self.header, self.came = header.pop("sizes"), header, b""
        self.expected = [min(PIECE, size - start) for size in self.sizes for start in range(0, size, PIECE)]

    def take_piece(self, piece: bytes) -> list[Message]:
        if not self.expected:
            raise RefusedError("frames", "a piece that nobody announced")
        if len(piece) != self.expected.pop(0):
            self.expected = []
            raise RefusedError("frames", "a piece of another length than must follow")
        self.came += piece
        if self.expected:
            return []
        frames, start = [], 0
        for size in self.sizes:
            frames.append(self.came[start : start + size])
            start += size
        return [(self.header, frames)]


def read_headers(data: bytes) -> list[Header]:
    """One header, or those of several messages. Refused: another form, or sizes that no message may have."""
    if len(data) > LONGEST_HEADER:
        raise RefusedError("frames", "a header that is too long")
    try:
        value = cbor.decode(data)
    except RefusedError as error:
        raise RefusedError("frames", "a header that is not CBOR in its one form") from error
    headers = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not 2 <= len(value) <= MOST_TOGETHER:
        raise RefusedError("frames", "an array of too few headers, or too many")
    if not all(isinstance(header, dict) and isinstance(header.get("type"), str) for header in headers):
        raise RefusedError("frames", "a header that is none")
    listed = [header["sizes"] for header in headers if "sizes" in header]
    if not all(isinstance(sizes, list) and sizes and all(is_uint(size) for size in sizes) for sizes in listed):
        raise RefusedError("frames", "sizes that are none")
    if not all(is_uint(header["long"]) for header in headers if "long" in header):
        raise RefusedError("frames", "a number that is none")
    if sum(len(sizes) for sizes in listed) > MOST_FRAMES or sum(sum(sizes) for sizes in listed) > LONGEST_MESSAGE:
        raise RefusedError("frames", "more frames or bytes than there may be")
    if any(sizes[0] > LONGEST_ENVELOPE for sizes in listed):
        raise RefusedError("frames", "an envelope that is too long")
    return headers


def is_uint(value: object) -> bool:
    """Whether it is an integer that is not negative; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
