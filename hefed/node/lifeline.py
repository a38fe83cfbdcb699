"""When to stop: a signal, or the end of the process that started this one."""

import os
import select
import signal
import sys
from types import FrameType


class Lifeline:
    """Turns SIGTERM, SIGINT and the closing of standard input into `cut`. `descriptor` wakes a poller."""

    def __init__(self, *, follow_stdin: bool) -> None:
        """`follow_stdin`: whether standard input is a pipe held by a parent, whose death closes it, even by kill -9."""
        self._follow_stdin = follow_stdin
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stdin = select.poll()
        if follow_stdin:
            self._stdin.register(sys.stdin.fileno(), select.POLLIN)
        self.cut = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.cut = True
        os.write(self._write, b".")

    @property
    def descriptors(self) -> list[int]:
        """What a poller should watch."""
        return [self._read, *([sys.stdin.fileno()] if self._follow_stdin else [])]

    def look(self) -> bool:
        """Whether it is time to stop."""
        if self._follow_stdin and not self.cut and self._stdin.poll(0):
            self.cut = not os.read(sys.stdin.fileno(), 1024)
        return self.cut
