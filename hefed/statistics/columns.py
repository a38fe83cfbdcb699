"""The rounds before a fit: how large the columns are, their pooled means, and their pooled deviations.

Relies on the exponents of earlier rounds; reveals, as sums over regions: a histogram over regions of the binary
exponent of their largest value (of each column, as it is and after centring, and of the number of rows), the numbers
of patients and events, and each column's sum and centred sum of squares.
Must not decide anything by arithmetic that differs between machines.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from hefed.statistics.arithmetic import Float, Int, ceiling_exponent, frozen, power_of_two
from hefed.statistics.errors import LocalError, ModelError
from hefed.statistics.model import BOUND_SLACK, Model, Phase, R, Specification

COLUMN_EXPONENTS: Final = range(-64, 65)
"""Exponents that a column's largest value may have: 2^64 is beyond any clinical unit, and 2^-64 below."""

ROW_EXPONENTS: Final = range(0, 27)
"""Exponents of a region's number of rows: at most 67 million patients, more than any register has."""

VOTE_TOLERANCE: Final = 0.25
"""A count is opened within this of an integer, or it is no count: half of what rounding to the nearest forgives."""

DOUBLE_RESOLUTION: Final = 2.0**-45
"""Relative variation of a column below which sums of float64 cannot tell it from a constant: 2^-53 with eight bits to
spare for the regions' own rounding."""

MINIMUM_EVENTS_PER_COVARIATE: Final = 1
"""With fewer events (for a logistic fit also non-events) than covariates the estimates do not exist or mean nothing;
ten to twenty are what textbooks ask for (Peduzzi et al., J Clin Epidemiol 1996), which is the analyst's choice."""


def round_counts(total: Float, what: str) -> Int:
    """The integers that opened counts stand for. Raises ModelError if one is not near an integer or negative."""
    counts = np.rint(total)
    if not ((np.abs(total - counts) <= VOTE_TOLERANCE) & (counts >= 0)).all():
        raise ModelError(f"the opened {what} are no counts: a contribution is not what the protocol asks for")
    return counts.astype(np.int64)


@dataclass(frozen=True)
class Vote:
    """A one-hot vote on several integers, of which only the largest over all regions is used."""

    choices: tuple[range, ...]

    @property
    def size(self) -> int:
        """Values that a vote sends."""
        return sum(len(choice) for choice in self.choices)

    def cast(self, values: Sequence[int]) -> Float:
        """A region's vote: for each integer a one at its place; what is below the range counts as its first place.

        Raises:
            LocalError: an integer is above its range.
        """
        votes = np.zeros(self.size)
        start = 0
        for value, choice in zip(values, self.choices, strict=True):
            if value > choice[-1]:
                raise LocalError(
                    f"this region's values lie beyond 2^{choice[-1]} from the pooled means that were opened: "
                    "those cannot be the sums of honest contributions"
                )
            votes[start + choice.index(max(value, choice.start))] = 1.0
            start += len(choice)
        return votes

    def largest(self, total: Float, regions: int) -> Int:
        """The largest of each integer, from the opened votes. Raises ModelError unless every region voted once."""
        counts = round_counts(total, "votes")
        largest = np.empty(len(self.choices), dtype=np.int64)
        start = 0
        for k, choice in enumerate(self.choices):
            here = counts[start : start + len(choice)]
            if here.sum() != regions:
                raise ModelError("the opened votes are not one for each region: a contribution is not a vote")
            largest[k] = choice[int(np.flatnonzero(here)[-1])]
            start += len(choice)
        return largest


@dataclass(frozen=True)
class Scales:
    """What the regions know about the pooled columns, p of them, before the first likelihood.

    Attributes:
        n, events: patients and events of all regions.
        centre, scale: (p,) pooled mean and root mean square deviation; close to them suffices, they only choose the
            coordinates in which Newton's method runs.
        reach: (p,) bound on |x - centre| / scale of every patient.
        excess: (p,) at least the mean of ((x - centre) / scale)^2 over all patients; 1 but for noise.
    """

    n: int
    events: int
    centre: Float
    scale: Float
    reach: Float
    excess: Float


class Regression(Model[R]):
    """What logistic and Cox regression share: the specification and the rounds on their columns."""

    event_column: str
    needs_non_events: ClassVar[bool]

    def __init__(self, specification: Specification) -> None:
        self.specification = specification

    def first_phase(self) -> Phase[R]:
        """The round on the columns' ranges."""
        return Ranges(self)

    @abstractmethod
    def after_columns(self, scales: Scales) -> Phase[R]:
        """The round that follows when the columns can be standardised."""


@dataclass(frozen=True)
class Ranges(Phase[R]):
    """Agree on binary exponents of the columns and of the number of rows."""

    model: Regression[R]
    purpose: ClassVar[str] = "ranges"

    @property
    def vote(self) -> Vote:
        """Rows first, then the columns."""
        return Vote((ROW_EXPONENTS,) + (COLUMN_EXPONENTS,) * len(self.model.specification.covariates))

    def exponents(self) -> Int:
        """Votes are 0 or 1."""
        return np.zeros(self.vote.size, dtype=np.int64)

    def contribution(self, rows: R) -> Float:
        """The vote; LocalError for a table that is too long or a column that is too large."""
        largest = ceiling_exponent(rows.reach(np.zeros(len(rows.sums)))).tolist()
        for name, exponent in zip(self.model.specification.covariates, largest, strict=True):
            if exponent >= COLUMN_EXPONENTS[-1]:
                raise LocalError(f"column {name!r} has values beyond 2^{COLUMN_EXPONENTS[-1] - 1}: use a larger unit")
        length = int(ceiling_exponent(rows.rows))
        if length > ROW_EXPONENTS[-1]:
            raise LocalError(f"the table has more than 2^{ROW_EXPONENTS[-1]} rows")
        return self.vote.cast([length, *largest])

    def step(self, total: Float) -> tuple[Phase[R], str]:
        """Go on to the means."""
        specification = self.model.specification
        rows, *columns = self.vote.largest(total, specification.regions).tolist()
        limit = specification.noise_bits - 3  # the noise of a count then stays within VOTE_TOLERANCE / 2
        if rows > limit:
            raise ModelError(f"tables of more than 2^{limit} rows cannot be counted at this precision")
        return Means(self.model, rows, np.array(columns)), f"ranges: rows 2^{rows}, columns 2^{columns}"


@dataclass(frozen=True, eq=False)
class Means(Phase[R]):
    """Count patients and events, and add up the columns."""

    model: Regression[R]
    rows: int
    magnitude: Int
    purpose: ClassVar[str] = "means"

    def exponents(self) -> Int:
        """Counts are at most the rows, sums at most the rows times the largest value."""
        return np.concatenate(([self.rows, self.rows], self.rows + self.magnitude))

    def contribution(self, rows: R) -> Float:
        """Number of rows, number of events, sum of each column."""
        return np.array([rows.rows, rows.events, *rows.sums], dtype=np.float64)

    def step(self, total: Float) -> tuple[Phase[R], str]:
        """Means, if there are enough events."""
        n, events = round_counts(total[:2], "numbers of patients and events").tolist()
        self._check_events(n, events)
        centre = frozen(total[2:] / n)
        error = self.model.specification.error(self.exponents())[2:] / n
        if not (np.abs(centre) <= BOUND_SLACK * power_of_two(self.magnitude) + error).all():
            raise ModelError(
                "the opened means lie beyond the largest values that were voted for: a contribution is not honest"
            )
        resolution = 2.0 * (error + DOUBLE_RESOLUTION * power_of_two(self.magnitude))
        return Spreads(self.model, self.rows, n, events, centre, resolution), f"means: n {n}, events {events}"

    def _check_events(self, n: int, events: int) -> None:
        covariates = len(self.model.specification.covariates)
        needed = max(1, MINIMUM_EVENTS_PER_COVARIATE * covariates)
        if events > n:
            raise ModelError(f"the opened sums count {events} events of {n} patients: a contribution is not honest")
        found = {f"{self.model.event_column!r} = 1": events}
        if self.model.needs_non_events:
            found[f"{self.model.event_column!r} = 0"] = n - events
        for what, count in found.items():
            if count < needed:
                raise ModelError(
                    f"too few events: {count} of {n} patients of all regions have {what}, and {covariates} covariates "
                    f"need at least {needed}: use fewer covariates or wait for more events"
                )


@dataclass(frozen=True, eq=False)
class Spreads(Phase[R]):
    """Agree on binary exponents of the centred columns; find constant ones."""

    model: Regression[R]
    rows: int
    n: int
    events: int
    centre: Float
    resolution: Float
    purpose: ClassVar[str] = "spreads"

    @property
    def vote(self) -> Vote:
        """One integer for each column."""
        return Vote((COLUMN_EXPONENTS,) * len(self.model.specification.covariates))

    def exponents(self) -> Int:
        """Votes are 0 or 1."""
        return np.zeros(self.vote.size, dtype=np.int64)

    def contribution(self, rows: R) -> Float:
        """The vote."""
        return self.vote.cast(ceiling_exponent(rows.reach(self.centre)).tolist())

    def step(self, total: Float) -> tuple[Phase[R], str]:
        """Go on to the variances, unless a column is constant."""
        spread = self.vote.largest(total, self.model.specification.regions)
        constant = (power_of_two(spread) <= self.resolution) | (spread == COLUMN_EXPONENTS[0])
        for name, is_constant, centre in zip(self.model.specification.covariates, constant, self.centre, strict=True):
            if is_constant:
                raise ModelError(
                    f"column {name!r} is constant over all regions (about {centre:.6g}): take it out of the covariates"
                )
        return (
            Variances(self.model, self.rows, self.n, self.events, self.centre, spread),
            f"spreads: columns 2^{spread.tolist()}",
        )


@dataclass(frozen=True, eq=False)
class Variances(Phase[R]):
    """Add up the squares of the centred columns."""

    model: Regression[R]
    rows: int
    n: int
    events: int
    centre: Float
    spread: Int
    purpose: ClassVar[str] = "variances"

    def exponents(self) -> Int:
        """Rows times the largest square."""
        return self.rows + 2 * self.spread

    def contribution(self, rows: R) -> Float:
        """Sum of squares of each centred column."""
        return rows.squares(self.centre)

    def step(self, total: Float) -> tuple[Phase[R], str]:
        """Standard deviations; the columns are known well enough for a likelihood."""
        # Some patient has |x - centre| > 2^(spread - 1), or nobody would have voted for `spread`.
        smallest = power_of_two(2 * self.spread - 2)
        error = self.model.specification.error(self.exponents())
        if not (total >= smallest - error).all():
            raise ModelError("the opened sums of squares contradict the votes: a contribution is not honest")
        squares = np.maximum(total, smallest)
        excess = (total + error) / squares
        scale = np.sqrt(squares / self.n)
        reach = np.minimum(power_of_two(self.spread) / scale, np.sqrt(self.n * excess))
        scales = Scales(self.n, self.events, self.centre, frozen(scale), frozen(reach), frozen(excess))
        return self.model.after_columns(scales), f"variances: deviations {hexadecimal(scale)}"


def hexadecimal(values: Float) -> str:
    """Floats exactly, for the record of decisions."""
    return " ".join(float(value).hex() for value in values)
