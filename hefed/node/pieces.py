"""Long messages of one connection, in pieces that are messages of ZeroMQ's of their own.

ZeroMQ holds a message in memory until all of it is there, and until all of it has left. Of a long one only a few pieces
are on their way at a time: the receiver says how much it has taken, and puts it into a file until it is whole. What
comes is hostile: no piece is taken that the header did not announce. Relies on `link` for what goes over the wire.
"""

import mmap
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import zmq

from hefed.crypto.buffer import Buffer
from hefed.node.errors import GoneError, NodeError
from hefed.node.frames import PIECE, PIECE_FOLLOWS, TOGETHER, Came, Link, headers_of, messages_of, parts_of, pieces_of
from hefed.protocol.codec import MAX_BYTES
from hefed.protocol.limits import LONGEST_MESSAGE

ON_THE_WAY = 2**20
"""Bytes of pieces that may be on their way before the receiver has said that it took them."""
SAY = 2**18
"""Bytes that the receiver takes before it says so."""
IN_MEMORY = MAX_BYTES
"""Bytes of a message that is put together in memory; a longer one lies in a file."""


class Arriving:
    """A long message whose pieces are coming."""

    def __init__(self, header: dict[str, Any], sizes: list[int], folder: Path | None, most: int) -> None:
        """The file, which has no name, lies in `folder`, or where temporary files do. Of a message of more than `most`
        bytes nothing is kept. Raises NodeError.
        """
        self.size = sum(sizes)
        """Bytes that it will have."""
        self.is_kept = self.size <= most
        self.number = header.pop("long", None)
        """What the sender calls it."""
        self.taken = 0
        """Bytes that have come."""
        self._header, self._sizes, self._folder = header, sizes, folder
        self._left = [size for size in sizes if size]
        self._memory = bytearray() if self.size <= IN_MEMORY else None
        self._file: IO[bytes] | None = None
        if self._memory is None and self.is_kept:
            try:
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by `whole`
            except OSError as error:
                raise self._full(error) from error

    def add(self, piece: zmq.Frame) -> bool:
        """Takes the next piece; False when it is not the one that must follow. Raises NodeError."""
        if not self._left or len(piece) != min(PIECE, self._left[0]):
            return False
        if self._memory is not None:
            self._memory += piece.buffer
        elif self._file is not None:
            try:
                self._file.write(piece.buffer)
                if len(self._left) == 1 and len(piece) == self._left[0]:
                    self._file.flush()
            except OSError as error:
                raise self._full(error) from error
        self.taken += len(piece)
        self._left[0] -= len(piece)
        if not self._left[0]:
            del self._left[0]
        return True

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to come any more."""
        return not self._left

    def whole(self) -> Came | None:
        """The message; None when it was not kept. All but the envelope of a long one lies in the file, which goes when
        nobody has it any more.
        """
        if not self.is_kept:
            return None
        if self._file is None:
            data = memoryview(self._memory or b"")
        else:
            data = memoryview(mmap.mmap(self._file.fileno(), sum(self._sizes), access=mmap.ACCESS_READ))
            self._file.close()
        frames: list[Buffer] = []
        begin = 0
        for size in self._sizes:
            frame = data[begin : begin + size]
            frames.append(frame if self._file and frames else bytes(frame))
            begin += size
        return self._header, tuple(frames)

    def close(self) -> None:
        """Gives up what has come so far."""
        if self._file is not None:
            with suppress(OSError):  # what was not written yet, and is not wanted any more
                self._file.close()

    def _full(self, error: OSError) -> NodeError:
        reason = (error.strerror or "unknown reason").lower()
        where = self._folder or tempfile.gettempdir()
        return NodeError(f"a long message cannot be put into a file in {where}: {reason}; free some space, start again")


class Pieces:
    """The long messages of one connection, one at a time each way, and all others as they are."""

    def __init__(self, folder: Path | None, most: int = LONGEST_MESSAGE, *, asks: bool = False) -> None:
        """`most` are the bytes of a message; `asks`: whether this end asks for a greeting when one is due."""
        self._folder, self._most, self._asks = folder, most, asks
        self._leaving: Iterator[list[zmq.Frame]] = iter(())
        self._next: list[zmq.Frame] | None = None
        self._number = self._sent = self._acknowledged = self._said = 0
        self.arriving: Arriving | None = None
        """The long message that is not whole yet."""
        self.is_lost = False
        """Whether a piece came that belongs to no message: a greeting begins again."""
        self.is_gone = False
        """Whether what was leaving is not kept any more: a greeting begins again."""
        self.refused: list[tuple[dict[str, Any], int]] = []
        """Headers of messages that were announced too long, and their bytes."""
        self.moved = time.monotonic()
        """When a piece last came or left."""
        self._has_asked = False

    # --- what leaves

    @property
    def leaves(self) -> bool:
        """Whether a long message is on its way, so that no other with frames may begin."""
        return self._next is not None

    def begin(self, message: Link) -> None:
        """Has a long message leave with `go_on`."""
        self._number, self._sent, self._acknowledged = self._number + 1, 0, 0
        self._leaving = pieces_of(message, self._number)
        self._next = next(self._leaving)
        self.moved = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether a long message is on its way, in either direction."""
        return self.leaves or self.arriving is not None

    def go_on(self, hand_over: Callable[[list[zmq.Frame]], bool | None]) -> None:
        """Says what is to be said, and hands over as many pieces as may be on their way. To be called in each turn:
        what finds no room now has to find it later.
        """
        if (self.is_lost or self.is_gone) and self._asks and not self._has_asked:
            self._has_asked = bool(hand_over(parts_of(({"type": "unknown"}, ()))))
        if self.arriving is not None and self.arriving.taken - self._said >= SAY:
            said = {"type": "taken", "long": self.arriving.number, "bytes": self.arriving.taken}
            if hand_over(parts_of((said, ()))):
                self._said = self.arriving.taken
        try:
            self._leave(hand_over)
        except GoneError:
            self._next, self.is_gone = None, True

    def _leave(self, hand_over: Callable[[list[zmq.Frame]], bool | None]) -> None:
        while self._next is not None and self._sent - self._acknowledged < ON_THE_WAY and hand_over(self._next):
            if len(self._next) > 1:
                self._sent += len(self._next[1])
            self.moved = time.monotonic()
            self._next = next(self._leaving, None)

    # --- what comes

    def read(self, parts: list[zmq.Frame]) -> list[Came]:
        """The messages that are whole with these frames. Raises NodeError when there is no room for a long one."""
        if len(parts) == 2 and parts[0].bytes == PIECE_FOLLOWS:
            return self._take(parts[1])
        headers = headers_of(parts[0]) if parts else []
        if len(headers) == 1 and sum(headers[0][1]) > TOGETHER and len(parts) == 1:
            self.drop()
            self.arriving, self._said = Arriving(*headers[0], self._folder, self._most), 0
            self.moved = time.monotonic()
            if not self.arriving.is_kept:
                self.refused.append((headers[0][0], self.arriving.size))
            return []
        return [message for message in messages_of(headers, parts[1:]) if not self._acknowledges(message[0])]

    def _take(self, piece: zmq.Frame) -> list[Came]:
        if self.arriving is None or not self.arriving.add(piece):
            self.drop()
            self.is_lost = True
            return []
        self.moved = time.monotonic()
        if not self.arriving.is_whole:
            return []
        whole, self.arriving = self.arriving.whole(), None
        return [whole] if whole else []

    def drop(self) -> None:
        """Gives up the long message that is not whole yet."""
        if self.arriving is not None:
            self.arriving.close()
            self.arriving = None

    def _acknowledges(self, header: dict[str, Any]) -> bool:
        match header:
            case {"type": "taken", "long": int(number), "bytes": int(taken)}:
                if number == self._number:
                    self._acknowledged = max(self._acknowledged, min(taken, self._sent))
                return True
        return False
