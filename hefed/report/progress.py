"""How far a study is: one live line in a terminal, plain lines in a pipe. Knows nothing of how a study works."""

import time
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

NUDGE = 10.0
"""Seconds of waiting after which a plain line says again what is waited for."""


@dataclass(frozen=True)
class Standing:
    """Where a study stands. `answered` and `waiting_for` are names; it waits for these another `seconds_left`."""

    phase: str
    round: int | None
    purpose: str
    answered: tuple[str, ...]
    waiting_for: tuple[str, ...]
    seconds_left: float

    @property
    def heading(self) -> str:
        """Phase and round in words."""
        if self.round is None:
            return self.phase
        return (
            f"round {self.round}, {self.purpose}: {self.phase}" if self.purpose else f"round {self.round}: {self.phase}"
        )

    @property
    def waiting(self) -> str:
        """What is waited for, in words."""
        return (
            f"waiting for {', '.join(self.waiting_for)}, {max(0.0, self.seconds_left):.0f} s left"
            if self.waiting_for
            else ""
        )


class Progress:
    """A context manager. `show` may be called as often as one likes; it prints when something has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._last_line = time.monotonic()
        self._heading = ""
        self._spinner = Spinner("dots", text="starting")
        live = Live(self._spinner, console=console, refresh_per_second=10, transient=True)
        self._live = live if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.__exit__(None, None, None)

    def note(self, words: str) -> None:
        """A line that stays."""
        self._console.print(self._line(words))

    def show(self, standing: Standing) -> None:
        """The current standing; in a pipe a line when the phase changes, or when it waits for long."""
        if self._live:
            done = f"  have {', '.join(standing.answered)}" if standing.answered else ""
            waiting = f"  {standing.waiting}" if standing.waiting else ""
            self._spinner.update(text=self._line(f"{standing.heading}{done}{waiting}"))
        elif standing.heading != self._heading:
            self.note(standing.heading)
            self._last_line = time.monotonic()
        elif standing.waiting and time.monotonic() - self._last_line > NUDGE:
            self.note(f"{standing.heading}: {standing.waiting}")
            self._last_line = time.monotonic()
        self._heading = standing.heading

    def _line(self, words: str) -> Text:
        """One line; words of others have no say over the terminal."""
        shown = "".join(sign if sign.isprintable() else "?" for sign in words)
        return Text(f"{time.monotonic() - self._started:6.1f} s  {shown}")
