"""Cox regression with one baseline hazard for all regions: risk sets are pooled.

Reveals more than a baseline for each region, as sums over regions: how many events there are at each time; and at each
distinct event time and each point of Newton's path the risk set's weights, weighted covariates and their weighted cross
products (of those with the event too, where more than one has it). From the differences between neighbouring times
follow sums over the few patients who leave in between, possibly a single one. It must be asked for by name.
Relies on `precise` sums. Must not: decide anything by logarithms of libm (arithmetic.py has its own).
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from hefed.statistics.arithmetic import (
    Float,
    Int,
    ceiling_exponent,
    exact_sum,
    exponential_bound,
    frozen,
    logarithm,
    symmetric,
    upper_triangle,
)
from hefed.statistics.columns import Scales, Vote, hexadecimal, round_counts
from hefed.statistics.errors import LocalError, ModelError
from hefed.statistics.likelihood import Evaluation, Likelihood, Point, check_effective, check_predictor
from hefed.statistics.model import Limits, Phase, Specification, exponents_of
from hefed.statistics.newton import Newton
from hefed.statistics.risk_sets import LARGEST_MOVE, CoxRows, Ties, tie_terms

SHARED_NOISE_BITS: Final = 60
"""A risk set may hold a millionth of all weights, whose sum is then still known to 2^-40."""

DECIMALS: Final = range(0, 7)
"""Decimals that event times may have: microseconds, or days told to a tenth of a second."""

TIME_EXPONENTS: Final = range(0, 33)
"""Exponents of the largest event time: 2^32 seconds are 136 years."""

MAXIMUM_CELLS: Final = 1 << 17
"""Cells of the histogram of event times: 358 years of days; 1.5 MB a round."""

MAXIMUM_EVENTS: Final = 1 << 22
"""Events of all regions: each has a denominator with Efron's ties, and a few of 8 bytes each are kept at a time."""

MAXIMUM_VALUES: Final = 1 << 20
"""Values of a Newton round: 12 MB; for example 10 covariates at 7,900 distinct event times with ties."""

CHANGE_BOUND: Final = 15.0
"""Largest change of a linear predictor in one step: sums are then known to exp(2 * 15) 2^-noise_bits of themselves."""

DENOMINATOR_MARGIN: Final = 4.0
"""A denominator must exceed its own error by this factor, or the sums are too noisy to go on."""


@dataclass(frozen=True, eq=False)
class TimeRanges(Phase[CoxRows]):
    """Agree on the decimals of the event times and on the exponent of the largest."""

    specification: Specification
    scales: Scales
    ties: Ties
    purpose: ClassVar[str] = "time ranges"
    vote: ClassVar[Vote] = Vote((DECIMALS, TIME_EXPONENTS))

    def exponents(self) -> Int:
        """Votes are 0 or 1."""
        return np.zeros(self.vote.size, dtype=np.int64)

    def contribution(self, rows: CoxRows) -> Float:
        """The vote; LocalError for event times that are too long or have too many decimals."""
        times = rows.event_times()
        exponent = int(ceiling_exponent(times.max(initial=0.0)))
        if exponent > TIME_EXPONENTS[-1]:
            raise LocalError(f"there are event times beyond 2^{TIME_EXPONENTS[-1]}: use a larger unit")
        for decimals in DECIMALS:
            if np.array_equal(np.rint(times * 10**decimals) / 10**decimals, times):
                return self.vote.cast([decimals, exponent])
        raise LocalError(
            f"event times have more than {DECIMALS[-1]} decimals: round them, or use a baseline per region"
        )

    def step(self, total: Float) -> tuple[Phase[CoxRows], str]:
        """Go on to the histogram, unless it is too long."""
        if self.scales.events > MAXIMUM_EVENTS:
            raise ModelError(
                f"{self.scales.events} events are more than the {MAXIMUM_EVENTS} that a shared baseline can have: "
                "use a baseline per region"
            )
        decimals, exponent = self.vote.largest(total, self.specification.regions).tolist()
        cells = 2**exponent * 10**decimals + 1
        if cells > MAXIMUM_CELLS:
            raise ModelError(
                f"event times of up to 2^{exponent} with {decimals} decimals would need {cells} cells, more than "
                f"{MAXIMUM_CELLS}: round the times or use a larger unit, or use a baseline per region"
            )
        following = EventTimes(self.specification, self.scales, self.ties, decimals, cells)
        return following, f"time ranges: {decimals} decimals, times 2^{exponent}"


@dataclass(frozen=True, eq=False)
class EventTimes(Phase[CoxRows]):
    """Count the events at each time, and add up the covariates of those who have one."""

    specification: Specification
    scales: Scales
    ties: Ties
    decimals: int
    cells: int
    purpose: ClassVar[str] = "event times"

    def exponents(self) -> Int:
        """No cell holds more than all events."""
        counts = np.full(self.cells, ceiling_exponent(self.scales.events))
        return np.concatenate((counts, exponents_of(self.scales.events * self.scales.reach)))

    def contribution(self, rows: CoxRows) -> Float:
        """Histogram of the event times, sum of the events' standardised covariates."""
        cell = np.rint(rows.times[rows.is_event] * 10**self.decimals).astype(np.int64)
        if (cell >= self.cells).any():
            raise LocalError("an event time of this region is beyond the range that was voted for")
        histogram = np.bincount(cell, minlength=self.cells).astype(np.float64)
        x = rows.design(self.scales.centre, self.scales.scale)
        sums = np.sum([part @ rows.is_event[here] for here, part in zip(rows.blocks, x, strict=True)], axis=0)
        return np.concatenate((histogram, sums))

    def step(self, total: Float) -> tuple[Phase[CoxRows], str]:
        """Go on to Newton's method."""
        counts = round_counts(total[: self.cells], "counts of events")
        if counts.sum() != self.scales.events:
            raise ModelError("the opened counts of events do not add up to their number: a contribution is not honest")
        occupied = np.flatnonzero(counts)
        likelihood = SharedLikelihood(
            self.specification,
            self.scales,
            self.ties,
            frozen(occupied / 10.0**self.decimals),
            counts[occupied],
            frozen(total[self.cells :]),
            frozen(self.specification.error(self.exponents()[self.cells :])),
        )
        if likelihood.layout.size > MAXIMUM_VALUES:
            raise ModelError(
                f"{len(occupied)} distinct event times with {len(self.scales.scale)} covariates would need "
                f"{likelihood.layout.size} values a round, more than {MAXIMUM_VALUES}: round the times, "
                "use fewer covariates, or use a baseline per region"
            )
        newton = Newton(likelihood, self.specification, likelihood.start())
        return newton, f"event times: {len(occupied)} distinct, sums {hexadecimal(likelihood.event_sums)}"


@dataclass(frozen=True)
class Layout:
    """How the sums of one point travel: for p covariates at K event times, of which T have ties that matter.

    In this order, each row by row: weights (1, K), weighted covariates (p, K), upper triangles of weighted cross
    products (p (p + 1) / 2, K); then the same over those who have the event, (., T).
    """

    covariates: int
    times: int
    tied: int

    @property
    def rows(self) -> int:
        """Sums for each time."""
        return 1 + self.covariates + self.covariates * (self.covariates + 1) // 2

    @property
    def size(self) -> int:
        """Values in all."""
        return self.rows * (self.times + self.tied)

    def split(self, values: Float) -> tuple[Float, Float]:
        """Sums (rows, K) over risk sets and (rows, T) over events."""
        end = self.rows * self.times
        return values[:end].reshape(self.rows, self.times), values[end:].reshape(self.rows, self.tied)

    @property
    def diagonal(self) -> Int:
        """Which rows are diagonals of cross products."""
        rows, columns = upper_triangle(self.covariates)
        return 1 + self.covariates + np.flatnonzero(rows == columns)

    def bounds(self, weights: Float, squares: Float) -> Float:
        """Bounds (rows, .) from those on weights (.,) and on squares (p, .), by Cauchy and Schwarz."""
        rows, columns = upper_triangle(self.covariates)
        roots = np.sqrt(squares)
        return np.concatenate((weights[None], np.sqrt(weights) * roots, roots[rows] * roots[columns]))


@dataclass(frozen=True, eq=False)
class SharedLikelihood(Likelihood[CoxRows]):
    """Partial log-likelihood with pooled risk sets.

    Attributes:
        grid, deaths: (K,) distinct event times and the number of events at each.
        event_sums, event_sums_error: (p,) sums of the standardised covariates over all events, and their error.
    """

    specification: Specification
    scales: Scales
    ties: Ties
    grid: Float
    deaths: Int
    event_sums: Float
    event_sums_error: Float
    has_intercept: ClassVar[bool] = False
    reason_without_information: ClassVar[str] = "does not vary within any risk set"
    largest_move: ClassVar[float] = LARGEST_MOVE
    largest_change: ClassVar[float] = CHANGE_BOUND

    @property
    def names(self) -> tuple[str, ...]:
        """The covariates."""
        return self.specification.covariates

    @property
    def typical_information(self) -> float:
        """A variance of one for each event."""
        return float(self.scales.events)

    @property
    def tied(self) -> Int:
        """Which event times need sums over their events; a single event needs none, and would be laid open by it."""
        return np.flatnonzero(self.deaths > 1) if self.ties == "efron" else np.zeros(0, dtype=np.int64)

    @property
    def layout(self) -> Layout:
        """Of the sums of a round."""
        return Layout(len(self.names), len(self.grid), len(self.tied))

    def start(self) -> Float:
        """Zeros."""
        return frozen(np.zeros(len(self.names)))

    def null_log_likelihood(self, first: Evaluation) -> float:
        """That of the first evaluation."""
        return first.log_likelihood

    def exponents(self, trial: Float, accepted: Point | None) -> Int:
        """At zero from the numbers of patients and events; later, no weight grows by more than exp(max |x' change|)."""
        layout, n = self.layout, self.scales.n
        if accepted is None:
            deaths = self.deaths[self.tied].astype(np.float64)
            at_risk = layout.bounds(
                np.full(layout.times, float(n)), np.multiply.outer(n * self.excess, np.ones(layout.times))
            )
            having_event = layout.bounds(deaths, np.multiply.outer(self.reach * self.reach, deaths))
        else:
            growth = exponential_bound(exact_sum(np.abs(trial - accepted.coefficients) * self.reach))
            before = np.maximum(accepted.evaluation.upper_sums, 0.0)
            at_risk, having_event = (
                layout.bounds(growth * part[0], growth * part[layout.diagonal]) for part in layout.split(before)
            )
        return exponents_of(np.concatenate((at_risk.ravel(), having_event.ravel())))

    def contribution(self, rows: CoxRows, trial: Float, limits: Limits | None) -> Float:
        """The region's sums over the pooled risk sets, and over tied events."""
        x = rows.design(self.scales.centre, self.scales.scale)
        predictor = np.concatenate([trial @ part for part in x])
        check_predictor(self.names, trial, predictor, limits)
        weights = np.exp(predictor)
        check_effective(self.names, trial, rows.risk_sets.expected_events(weights, self.ties)[1], limits)
        sets = rows.pooled_risk_sets(self.grid)
        layout, tied = self.layout, self.tied
        sums = sets.no_sums((layout.rows,))
        first, second = upper_triangle(len(trial))
        for here, part in zip(rows.blocks, x, strict=True):
            weighted = part * weights[here]
            products = weighted[first] * part[second]
            sets.add(sums, np.concatenate((weights[None, here], weighted, products)), here)
        at_risk, having_event = sets.at_risk(sums), sets.having_event(sums)[:, tied]
        return np.concatenate((at_risk.ravel(), having_event.ravel()))

    def evaluation(self, trial: Float, total: Float, exponents: Int) -> Evaluation:
        """Log-likelihood, gradient and information from the pooled sums."""
        error = self.specification.error(exponents)
        (risk, event), (risk_error, event_error) = self._on_grid(total), self._on_grid(error)
        self._check_denominators(risk[0], event[0], risk_error[0] + event_error[0])
        terms = tie_terms(risk[0], event[0], self.deaths, self.ties)
        p = len(trial)
        x_risk, x_event = risk[1 : 1 + p], event[1 : 1 + p]
        means = terms.first * x_risk - terms.first_a * x_event
        j, k = upper_triangle(p)
        information = (
            (terms.first * risk[1 + p :] - terms.first_a * event[1 + p :])
            - (terms.second * x_risk[j]) * x_risk[k]
            + terms.second_a * (x_risk[j] * x_event[k] + x_event[j] * x_risk[k])
            - (terms.second_aa * x_event[j]) * x_event[k]
        )
        noise = add_exactly(terms.first * risk_error + terms.first_a * event_error)
        x_noise = noise[1 : 1 + p]
        return Evaluation(
            log_likelihood=exact_sum(trial * self.event_sums)
            - exact_sum(terms.multiplicity * logarithm(terms.denominators)),
            gradient=frozen(self.event_sums - add_exactly(means)),
            information=frozen(symmetric(add_exactly(information), p)),
            log_likelihood_error=float(noise[0]) + exact_sum(np.abs(trial) * self.event_sums_error),
            gradient_error=frozen(x_noise + self.reach * noise[0] + self.event_sums_error),
            information_error=frozen(
                noise[self.layout.diagonal] + 2.0 * self.reach * x_noise + 2.0 * self.reach * self.reach * noise[0]
            ),
            upper_sums=frozen(total + error),
        )

    def _on_grid(self, values: Float) -> tuple[Float, Float]:
        """Sums (rows, K) over risk sets and over events, zero for the latter where a time has no ties."""
        at_risk, having_event = self.layout.split(values)
        everywhere = np.zeros_like(at_risk)
        everywhere[:, self.tied] = having_event
        return at_risk, everywhere

    def _check_denominators(self, risk: Float, event: Float, error: Float) -> None:
        last = (self.deaths - 1) / self.deaths
        if not (risk - last * event > DENOMINATOR_MARGIN * error).all():
            raise ModelError(
                "a pooled risk set has too small a weight for the precision of the sums: look for a column with "
                "extreme values, or use a baseline per region"
            )


def add_exactly(terms: Float) -> Float:
    """(r,): sums of the rows of terms (r, K), correctly rounded."""
    return np.array([exact_sum(row) for row in terms])
