"""What a study's sums would tell beside those of earlier studies that a region took part in.

Sums are exact, so two of them that differ in little can be subtracted: what is left is a sum over that little. Looks at
definitions and at numbers of rows only; it cannot know whether as many rows are the same patients.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hefed.study import Study
from hefed.wording import counted, quoted

DifferenceKind = Literal["region", "patients", "variable"]


@dataclass(frozen=True)
class Earlier:
    """A study that was approved here before. `rows` are the region's own that it used; None where it is not known."""

    digest: bytes
    study: Study
    rows: int | None

    @property
    def title(self) -> str:
        """Its name, and the first digits of its hash."""
        return f"{self.study.id} ({self.digest.hex()[:8]})"


@dataclass(frozen=True)
class Difference:
    """What is left of a study's sums after subtracting an earlier one's."""

    kind: DifferenceKind
    earlier: Earlier
    words: str
    """For the people of the region; may tell how many of its patients."""


def differences(study: Study, rows: int | None, earlier: Iterable[Earlier], fewest: int) -> list[Difference]:
    """Everything that the study could be subtracted from. `rows` are those that it would use here, None as long as the
    table has not been read; fewer than `fewest` of them are a group too small.
    """
    return [found for one in earlier if (found := _difference(study, rows, one, fewest)) is not None]


def refused(found: Sequence[Difference], kinds: Sequence[DifferenceKind]) -> list[str]:
    """A reason to refuse, if there is one, in words for the analyst: neither which study nor what would be left."""
    words = "the policy here refuses it: it could be subtracted from a study that the region took part in before"
    return [words] if any(one.kind in kinds for one in found) else []


def _difference(study: Study, rows: int | None, earlier: Earlier, fewest: int) -> Difference | None:
    now, then = set(study.contributors), set(earlier.study.contributors)
    if now != then:
        left = sorted(now ^ then)
        if len(left) >= study.security.min_contributors:
            return None
        less = f" less those of {', '.join(sorted(then - now))}" if now - then and then - now else ""
        over = sorted(now - then) if less else left
        words = f"sums over the patients of {', '.join(over)} alone{less}, by subtracting {earlier.title}"
        return Difference("region", earlier, words)
    apart = abs(rows - earlier.rows) if rows is not None and earlier.rows is not None else 0
    if 0 < apart < fewest:
        words = f"sums over {counted(apart, 'patient')} of this region, by subtracting {earlier.title}"
        return Difference("patients", earlier, words)
    columns = list(_apart(study, earlier.study))
    if 0 < len(columns) <= 2 and not apart:
        verb = "adds" if len(columns) == 1 else "add"
        words = f"what {' and '.join(map(quoted, columns))} {verb}, by comparing with {earlier.title}"
        return Difference("variable", earlier, words)
    return None


def _apart(study: Study, other: Study) -> Iterator[str]:
    """The covariates that only one of two models has; none unless they have the same responses."""
    if study.model.responses == other.model.responses:
        yield from sorted(set(study.model.covariates) ^ set(other.model.covariates))
