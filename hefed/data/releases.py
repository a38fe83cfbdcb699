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

    @property
    def public(self) -> str:
        """For the analyst: no number."""
        what = {
            "region": "of fewer regions than a study here must have",
            "patients": "of fewer patients than a study here must have",
            "variable": "what one variable adds",
        }[self.kind]
        return f"with {self.earlier.title}, which it took part in, this study would tell {what}"


def differences(study: Study, rows: int | None, earlier: Iterable[Earlier], fewest: int) -> list[Difference]:
    """Everything that the study could be subtracted from. `rows` are those that it would use here, None as long as the
    table has not been read; fewer than `fewest` of them are a group too small.
    """
    return [found for one in earlier if (found := _difference(study, rows, one, fewest)) is not None]


def refused(found: Sequence[Difference], kinds: Sequence[DifferenceKind]) -> list[str]:
    """Reasons to refuse, in words for the analyst."""
    return [f"the policy here refuses it: {one.public}" for one in found if one.kind in kinds]


def _difference(study: Study, rows: int | None, earlier: Earlier, fewest: int) -> Difference | None:
    now, then = set(study.contributors), set(earlier.study.contributors)
    if now != then:
        left = sorted(now ^ then)
        nested = now < then or now > then
        if not nested or len(left) >= study.security.min_contributors:
            return None
        words = f"sums over the patients of {', '.join(left)} alone, by subtracting {earlier.title}"
        return Difference("region", earlier, words)
    apart = abs(rows - earlier.rows) if rows is not None and earlier.rows is not None else 0
    if 0 < apart < fewest:
        words = f"sums over {counted(apart, 'patient')} of this region, by subtracting {earlier.title}"
        return Difference("patients", earlier, words)
    columns = list(_apart(study, earlier.study))
    if len(columns) == 1 and not apart:
        words = f"what {quoted(columns[0])} adds, by comparing with {earlier.title}"
        return Difference("variable", earlier, words)
    return None


def _apart(study: Study, other: Study) -> Iterator[str]:
    """The covariates that only one of two models has; none unless they are alike in all else."""
    left, right = study.model.model_dump(), other.model.model_dump()
    covariates = [set(model.pop("covariates")) for model in (left, right)]
    if left == right:
        yield from sorted(covariates[0] ^ covariates[1])
