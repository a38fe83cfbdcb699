"""One row of `hefed node --check`: what was tried, how it stands, and in words what was found or what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["works", "note", "wrong", "not tried"]
Tell = Callable[[str], None]
"""Called with what is being tried now, for a person who waits."""


@dataclass(frozen=True)
class Finding:
    """`words` of what works say what was found, and so does a note, which nobody needs to act on; of what is wrong
    they are one sentence: who, what, and the next step; of what was not tried: what has to work first.
    """

    what: str
    state: State
    words: str

    @property
    def ok(self) -> bool:
        """Whether it was tried and is in nobody's way."""
        return self.state in ("works", "note")


def works(what: str, words: str) -> Finding:
    """A row of what works."""
    return Finding(what, "works", words)


def note(what: str, words: str) -> Finding:
    """A row of what is as it may be, and worth knowing."""
    return Finding(what, "note", words)


def wrong(what: str, words: object) -> Finding:
    """A row of what does not work; `words` may be the error."""
    return Finding(what, "wrong", str(words))


def not_tried(what: str, first: str) -> Finding:
    """A row of what needs another row to work."""
    return Finding(what, "not tried", f"needs: {first}")


def waiting_for(first: str, *whats: str) -> list[Finding]:
    """Rows that all need the same other one."""
    return [not_tried(what, first) for what in whats]
