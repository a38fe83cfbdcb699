"""What every statistic is: rounds of sums over regions, driven from outside.

A round: everybody computes `request` from the same state, each region computes its `contribution` from its own table,
the sum is opened to all, and everybody computes the next state with `step`. `start`, `request` and `step` are pure and
have the same bits on every machine (see arithmetic.py); only `contribution` touches patients.

No bound of a request may ever fail to hold for an honest region: every exponent follows by proof from sums that are
open already. So no region ever has to say that its value does not fit, and no round is repeated without it, which would
open its value as a difference.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hefed.statistics.arithmetic import Float, Int, ceiling_exponent, power_of_two
from hefed.statistics.errors import LocalError, ModelError
from hefed.statistics.result import FitResult

MINIMUM_NOISE_BITS: Final = 24
"""Below this the moments of a column are too coarse to centre and scale it; both profiles offer more."""

BOUND_SLACK: Final = 1.0 + 2.0**-10
"""Bounds are widened by this factor, for rounding in the regions' own floating point; it costs 0.0014 bits."""


BLOCK: Final = 1 << 11
"""Rows that a region works on at a time: 20 columns of them and their weighted copy then stay in the cache."""

LARGEST_EXPONENT: Final = 300
"""Honest sums have smaller exponents: at most 200 or so, with linear predictors of 100 and 2^26 rows."""

DISHONEST: Final = "the opened sums cannot be those of honest contributions"


@dataclass(frozen=True)
class Limits:
    """What a region lets be done with its table.

    Attributes:
        rounds: Newton rounds of one fit. A regular fit takes 4 to 10.
        step: the largest change of a standardised coefficient in one round (units: log odds or log hazard for one
            standard deviation). A Newton step is shortened to it; coefficients of 2 are rare in medicine.
        linear_predictor: the largest |x'b| of one of the region's patients, relative to a patient with mean covariates.
            At most 100, so that weights exp(x'b), their sums and the squares of those stay far inside float64.
        min_effective: the smallest effective number of patients with which a region contributes, (sum w)^2 / sum w^2
            over their weights w in the information, and over the sizes of their residuals in the gradient; with fewer
            the sum would be nearly a single patient's. Also the smallest number of rows.
        min_events: the fewest events (logistic: also the fewest non-events) with which a region contributes. The sum
            over few events is nearly the covariates of those patients, and whoever subtracts its own part has the
            others'. A region without an event adds nothing to a Cox fit and so lays another one's sums open: 0, which
            lets it, is for tables that are nobody's secret. A study asks for 5 or more.
    """

    rounds: int = 40
    step: float = 2.0
    linear_predictor: float = 100.0
    min_effective: float = 5.0
    min_events: int = 0

    def __post_init__(self) -> None:
        for name, value in (("rounds", self.rounds), ("step", self.step), ("linear_predictor", self.linear_predictor)):
            if not 0 < value < np.inf:
                raise ValueError(f"limit {name} must be a positive number")
        if self.linear_predictor > 100:
            raise ValueError("limit linear_predictor must be at most 100")
        if self.min_events < 0:
            raise ValueError("limit min_events must not be negative")
        if not 1 <= self.min_effective < np.inf:
            raise ValueError("limit min_effective must be at least 1")


@dataclass(frozen=True)
class Specification:
    """What logistic and Cox regression share.

    Attributes:
        covariates: column names, at least one.
        regions: number of contributors.
        noise_bits: an opened sum of values with exponent x is within 2^(x - noise_bits) of the true sum.
        ridge: lambda >= 0 in lambda/2 * sum of squares of the standardised coefficients without the intercept.
    """

    covariates: tuple[str, ...]
    regions: int
    noise_bits: int
    ridge: float = 0.0
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not self.covariates or len(set(self.covariates)) != len(self.covariates):
            raise ValueError("a regression needs at least one covariate, and each only once")
        if self.regions < 1:
            raise ValueError("a regression needs at least one region")
        if self.noise_bits < MINIMUM_NOISE_BITS:
            raise ValueError(f"a regression needs sums within 2^-{MINIMUM_NOISE_BITS} of their range")
        if not 0.0 <= self.ridge < np.inf:
            raise ValueError("ridge must be a number that is not negative")

    def error(self, exponents: Int) -> Float:
        """Bounds on the error of opened sums whose values have these exponents."""
        return power_of_two(exponents - self.noise_bits)


@dataclass(frozen=True)
class Table:
    """A region's columns: float64 arrays of length `rows`, without missing values."""

    rows: int
    columns: Mapping[str, Float]

    def column(self, name: str) -> Float:
        """The column `name`, checked; LocalError if it is absent, of another length, or not finite."""
        if name not in self.columns:
            raise LocalError(f"column {name!r} is missing: add it, or take it out of the study")
        values = np.asarray(self.columns[name], dtype=np.float64)
        if values.shape != (self.rows,):
            raise LocalError(f"column {name!r} does not have one value for each of the {self.rows} rows")
        if not np.isfinite(values).all():
            raise LocalError(f"column {name!r} has missing or infinite values: drop those rows first")
        return values

    def indicator(self, name: str) -> npt.NDArray[np.bool_]:
        """The column `name`, checked to hold nothing but 0 and 1."""
        values = self.column(name)
        if not ((values == 0.0) | (values == 1.0)).all():
            raise LocalError(f"column {name!r} has values other than 0 and 1")
        return np.asarray(values == 1.0)


class Prepared:
    """A region's table made ready for a model: checked, sorted once where the model wants that, and summed up.

    Attributes:
        rows, events: how many.
        blocks: the rows, `BLOCK` at a time.
        smallest, largest, sums, deviations: (p,) of each covariate, the last one the sum of squares about its mean.
    """

    def __init__(
        self, table: Table, covariates: tuple[str, ...], events: int, rarer: int, order: Int | None, limits: Limits
    ) -> None:
        """Take the covariates of `table`; `order` sorts the rows of `design`.

        `rarer` counts what individual sums rest on: the events, or for a 0/1 outcome the rarer of its two values.

        Raises:
            LocalError: a column is unusable, or there are too few rows or events to hide a patient among.
        """
        if table.rows < limits.min_effective:
            raise LocalError(
                f"this region has fewer than the {limits.min_effective:g} rows with which it contributes "
                "(limit min_effective)"
            )
        if rarer < limits.min_events:
            raise LocalError(
                f"this region has fewer than the {limits.min_events} events, or patients without the event, with which "
                "it contributes (limit min_events); leave it out of the study"
            )
        self.rows = table.rows
        self.events = events
        self._covariates = tuple(table.column(name) for name in covariates)
        self._order = order
        self._standard: tuple[Float, Float] | None = None
        places = np.empty(len(covariates) * self.rows)
        self.blocks = tuple(slice(start, min(start + BLOCK, self.rows)) for start in range(0, self.rows, BLOCK))
        self._design = tuple(
            places[len(covariates) * block.start : len(covariates) * block.stop].reshape(len(covariates), -1)
            for block in self.blocks
        )
        self._fill()
        self.smallest: Float = np.min([part.min(axis=1) for part in self._design], axis=0)
        self.largest: Float = np.max([part.max(axis=1) for part in self._design], axis=0)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # so large a value has no place in the ranges, and is refused
            self.sums: Float = np.array([column.sum() for column in self._covariates])
            mean = (self.sums / self.rows)[:, None]
            self.deviations: Float = np.sum([np.square(part - mean).sum(axis=1) for part in self._design], axis=0)

    def _fill(self) -> None:
        for j, column in enumerate(self._covariates):
            ordered = column if self._order is None else column[self._order]
            for block, part in zip(self.blocks, self._design, strict=True):
                part[j] = ordered[block]

    def reach(self, centre: Float) -> Float:
        """(p,): the largest |x - centre| of each covariate."""
        return np.asarray(np.maximum(np.abs(self.largest - centre), np.abs(self.smallest - centre)))

    def squares(self, centre: Float) -> Float:
        """(p,): the sum of (x - centre)^2 of each covariate, never more than the rows times the largest one."""
        total = self.deviations + self.rows * np.square(self.sums / self.rows - centre)
        return np.asarray(np.minimum(total, self.rows * np.square(self.reach(centre))))

    def design(self, centre: Float, scale: Float) -> tuple[Float, ...]:
        """Standardised covariates (p, .) of the rows of each block, kept from round to round.

        They take the place in memory of those of the last call.
        """
        if self._standard is None or not all(map(np.array_equal, self._standard, (centre, scale))):
            if self._standard is not None:
                self._fill()
            for part in self._design:
                part -= centre[:, None]
                part /= scale[:, None]
            self._standard = (centre, scale)
        return self._design


R = TypeVar("R", bound=Prepared)


class Phase(ABC, Generic[R]):
    """One round of a statistic, with everything known before it. Immutable."""

    purpose: ClassVar[str]

    @abstractmethod
    def exponents(self) -> Int:
        """Binary exponents (K,) that bound each region's values of this round."""

    @abstractmethod
    def contribution(self, rows: R) -> Float:
        """A region's values (K,). Raises LocalError to refuse."""

    @abstractmethod
    def step(self, total: Float) -> "tuple[Phase[R] | FitResult, str]":
        """What follows from the opened sum (K,), and the decision in words. Raises ModelError."""


@dataclass(frozen=True)
class Request:
    """What the next round sums: value k of a region is at most 2^exponents[k] in magnitude."""

    purpose: str
    exponents: npt.NDArray[np.int16]


@dataclass(frozen=True)
class State:
    """Where a fit stands. The same for all regions; a function of the opened sums alone.

    Attributes:
        phase: the round that comes next; the last one again when finished.
        decisions: one line for each round so far, floats as `float.hex`.
        result: the fit, when finished.
    """

    phase: Phase[Any]
    decisions: tuple[str, ...] = ()
    result: FitResult | None = None

    @property
    def rounds(self) -> int:
        """Rounds that have been opened."""
        return len(self.decisions)

    @property
    def finished(self) -> bool:
        """Whether there is a result and no further round."""
        return self.result is not None


class Model(ABC, Generic[R]):
    """A statistic that a protocol can drive."""

    @abstractmethod
    def prepare(self, table: Table) -> R:
        """A region's table, checked and made ready once. Raises LocalError."""

    @abstractmethod
    def first_phase(self) -> Phase[R]:
        """The first round."""

    def start(self) -> State:
        """The state before the first round."""
        return State(self.first_phase())

    def request(self, state: State) -> Request:
        """What the next round sums, the same for every region."""
        return Request(state.phase.purpose, state.phase.exponents().astype(np.int16))

    def contribution(self, rows: R, state: State) -> Float:
        """A region's own part (K,) of the next round.

        Raises:
            LocalError: the region refuses, in words that name no patient's value.
        """
        values = state.phase.contribution(rows)
        bounds = power_of_two(state.phase.exponents())
        if not (np.abs(values) <= bounds).all():
            raise LocalError(
                f"a value of round {state.phase.purpose!r} is outside the range that follows from the opened sums: "
                "those cannot be the sums of honest contributions"
            )
        return values

    def step(self, state: State, total: Float) -> State:
        """The state that follows from an opened sum (K,).

        Raises:
            ModelError: the sum does not allow the fit; the same error for every region.
        """
        total = np.asarray(total, dtype=np.float64)
        if state.finished or total.shape != state.phase.exponents().shape or not np.isfinite(total).all():
            raise ModelError(f"the opened sum does not belong to round {state.phase.purpose!r}")
        outcome, decision = state.phase.step(total)
        decisions = (*state.decisions, decision)
        if isinstance(outcome, FitResult):
            return State(state.phase, decisions, outcome)
        if outcome.exponents().max() > LARGEST_EXPONENT:
            raise ModelError(f"the next sums could be beyond 2^{LARGEST_EXPONENT}: {DISHONEST}")
        return State(outcome, decisions)


def exponents_of(bounds: Float) -> Int:
    """Exponents of bounds that were derived in exact arithmetic, widened by `BOUND_SLACK`.

    Raises:
        ModelError: a bound is beyond float64, or none; `Model.step` asks first, so that no later caller meets this.
    """
    if not np.isfinite(bounds).all():
        raise ModelError(f"no bound on the next sums is within float64: {DISHONEST}")
    return ceiling_exponent(bounds * BOUND_SLACK)
