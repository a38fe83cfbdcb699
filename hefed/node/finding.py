"""One row of `hefed node --check`: what was tried, how it stands, and in words what was found or what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["works", "wrong", "not tried"]
Tell = Callable[[str], None]
"""Called with what is being tried now, for a person who waits."""


@dataclass(frozen=True)
class Finding:
    """`words` of what works say what was found; of what is wrong: who, what, and the next step, in one sentence; of
    what was not tried: what has to work first.
    """

    what: str
    state: State
    words: str

    @property
    def ok(self) -> bool:
        """Whether it was tried and works."""
        return self.state == "works"


def works(what: str, words: str) -> Finding:
    """A row of what works."""
    return Finding(what, "works", words)


def wrong(what: str, words: object) -> Finding:
    """A row of what does not; `words` may be the error."""
    return Finding(what, "wrong", str(words))


def not_tried(what: str, first: str) -> Finding:
    """A row of what needs another thing, which does not work."""
    return Finding(what, "not tried", f"{first} first")
