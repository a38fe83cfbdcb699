"""What the public record says of a round, and of the end of a study."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from hefed.crypto.hashing import tagged_hash
from hefed.protocol import messages as m
from hefed.protocol.messages import Message


@dataclass
class RoundRecord:
    """What the board knows of a round."""

    number: int
    contributions: dict[str, Message] = field(default_factory=dict)
    opens: list[m.Open] = field(default_factory=list)
    open_digests: list[bytes] = field(default_factory=list)
    checks: dict[str, m.Check] = field(default_factory=dict)
    answers: dict[str, set[int]] = field(default_factory=dict)
    has_checked: set[str] = field(default_factory=set)
    has_answered: set[tuple[str, int]] = field(default_factory=set)
    """Who sent a check value, and who an answer to which attempt: after the sum too, where `checks` and `answers` stay
    as they were at the sum.
    """
    sum: m.Sum | None = None
    bytes_sent: int = 0

    @property
    def first(self) -> m.Contribution:
        """A contribution's content; label, purpose and number of values are the same in all."""
        content = next(iter(self.contributions.values())).content
        assert isinstance(content, m.Contribution)  # noqa: S101  the board put nothing else there
        return content

    @cached_property
    def list_digest(self) -> bytes:
        """H over the label, the hash of the sum that the aggregator is bound to, and every contributor's name and hash
        of its contribution, in order of names. Defined once the round is open. Were the sum not part of it, an
        aggregator that knows the factors of the check could choose a wrong sum that passes.
        """
        parts: list[bytes | str] = [self.first.label, self.opens[0].total]
        for name in sorted(self.contributions):
            parts += [name, self.contributions[name].body.attachments[0].sha256]
        return tagged_hash("contributions", *parts)


@dataclass(frozen=True)
class Outcome:
    """How a study ended: `result` or `error` by the readers' agreement, `refusal` or `complaint` by a member, `end`
    by the aggregator. `missing` names whom that waited for, `about` the dealer that a complaint is about.
    """

    how: Literal["result", "error", "refusal", "complaint", "end"]
    by: str
    words: str
    missing: tuple[str, ...] = ()
    about: str = ""
