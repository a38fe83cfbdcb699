"""Cox's proportional hazards regression (JRSS B, 1972) with one baseline hazard for each region, or a shared one.

With a baseline for each region (stratified by region), risk sets never cross regions, so that the likelihood is a sum
over regions. Reveals then, at each point of Newton's path: the sums over regions of partial log-likelihood, gradient
and information. What the shared baseline reveals stands in cox_shared.py.
Must not: let the choice of exponents depend on a table.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from hefed.statistics.arithmetic import Float, Int, exact_sum, exponential_bound, frozen, upper_triangle
from hefed.statistics.columns import Regression, Scales
from hefed.statistics.cox_shared import SHARED_NOISE_BITS, TimeRanges
from hefed.statistics.likelihood import (
    INFORMATION_FLOOR,
    Evaluation,
    Likelihood,
    Point,
    check_effective,
    check_predictor,
    unpack,
)
from hefed.statistics.model import Limits, Phase, Specification, Table, exponents_of
from hefed.statistics.newton import Newton
from hefed.statistics.risk_sets import LARGEST_MOVE, CoxRows, Ties

LOG_2: Final = 0.6931471805599454
"""Just above log 2."""

Baseline = Literal["per-region", "shared"]


class Cox(Regression[CoxRows]):
    """Cox regression of a right-censored time on covariates.

    Args:
        covariates: names of the columns.
        duration: name of the column with the times, not negative.
        event: name of the 0/1 column: 1 if the event happened at that time, 0 if the patient was censored then.
        ties: "efron" or "breslow"; times are tied if they are equal as float64.
        baseline: "per-region" (stratified by region) or "shared", which reveals more (see cox_shared.py).
        regions: number of contributors.
        noise_bits: an opened sum of values with exponent x is within 2^(x - noise_bits) of the true sum.
        ridge: penalty factor of half the sum of squares of the standardised coefficients.
        limits: what regions allow.
    """

    needs_non_events: ClassVar[bool] = False

    def __init__(
        self,
        covariates: tuple[str, ...],
        duration: str,
        event: str,
        *,
        regions: int,
        noise_bits: int,
        ties: Ties = "efron",
        baseline: Baseline = "per-region",
        ridge: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(Specification(tuple(covariates), regions, noise_bits, ridge, limits or Limits()))
        if ties not in ("efron", "breslow") or baseline not in ("per-region", "shared"):
            raise ValueError("ties must be efron or breslow, and baseline per-region or shared")
        if baseline == "shared" and noise_bits < SHARED_NOISE_BITS:
            raise ValueError(f"a shared baseline needs sums within 2^-{SHARED_NOISE_BITS} of their range")
        self.duration_column = duration
        self.event_column = event
        self.ties: Ties = ties
        self.baseline: Baseline = baseline

    def prepare(self, table: Table) -> CoxRows:
        """A region's table, checked and sorted by time."""
        return CoxRows(table, self.specification, self.duration_column, self.event_column)

    def after_columns(self, scales: Scales) -> Phase[CoxRows]:
        """Newton's method from zero, for a shared baseline after the rounds on event times."""
        if self.baseline == "shared":
            return TimeRanges(self.specification, scales, self.ties)
        likelihood = StratifiedLikelihood(self.specification, scales, self.ties)
        return Newton(likelihood, self.specification, likelihood.start())


@dataclass(frozen=True, eq=False)
class StratifiedLikelihood(Likelihood[CoxRows]):
    """Partial log-likelihood, stratified by region; values: itself, gradient, upper triangle of the information."""

    specification: Specification
    scales: Scales
    ties: Ties
    has_intercept: ClassVar[bool] = False
    largest_move: ClassVar[float] = LARGEST_MOVE
    reason_without_information: ClassVar[str] = (
        "does not vary within the risk sets of any region, as when it is constant within every region"
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The covariates."""
        return self.specification.covariates

    @property
    def typical_information(self) -> float:
        """A variance of one for each event."""
        return float(self.scales.events)

    def start(self) -> Float:
        """Zeros."""
        return frozen(np.zeros(len(self.names)))

    def null_log_likelihood(self, first: Evaluation) -> float:
        """That of the first evaluation."""
        return first.log_likelihood

    def exponents(self, trial: Float, accepted: Point | None) -> Int:
        """Bounds on what one event adds, with M the largest |x'(change of b)| and `reach` the largest |x_j|:

        its deviance is at most log n at zero and changes by at most 2 M; its gradient is x_j less a mean of x_j, at
        most 2 reach_j; its information is a variance, at most reach_j^2, and changes by a factor of at most exp(2 M).
        """
        events, reach = self.scales.events, self.reach
        largest = events * reach * reach
        if accepted is None:
            deviance, diagonal = events * LOG_2 * self.scales.n.bit_length(), largest
        else:
            here = accepted.evaluation
            change = exact_sum(np.abs(trial - accepted.coefficients) * reach)
            deviance = max(0.0, here.log_likelihood_error - here.log_likelihood) + 2.0 * events * change
            information = np.diagonal(here.information) + here.information_error
            grown = exponential_bound(2.0 * change) * np.maximum(information, INFORMATION_FLOOR * largest)
            diagonal = np.minimum(grown, largest)
        rows, columns = upper_triangle(len(trial))
        bounds = ([deviance], 2.0 * events * reach, np.sqrt(diagonal[rows] * diagonal[columns]))
        return exponents_of(np.concatenate(bounds))

    def contribution(self, rows: CoxRows, trial: Float, limits: Limits | None) -> Float:
        """The region's partial log-likelihood, gradient and information; zeros if it has no event.

        The gradient is X' (event - v) and the information X' diag(v) X - sum over denominators of m m', where v is the
        number of events to be expected of a patient (weight times cumulative hazard), and m the mean of a risk set.
        """
        x = rows.design(self.scales.centre, self.scales.scale)
        predictor = np.concatenate([trial @ part for part in x])
        check_predictor(self.names, trial, predictor, limits)
        predictor -= predictor.max()
        weights = np.exp(predictor)
        sets = rows.risk_sets
        terms, hazard = sets.expected_events(weights, self.ties)
        check_effective(self.names, trial, hazard, limits)
        residual = rows.is_event - hazard
        check_effective(self.names, trial, np.abs(residual), limits)
        log_likelihood = float(predictor[rows.is_event].sum() - terms.multiplicity @ np.log(terms.denominators))
        gradient, information = np.zeros(len(trial)), np.zeros((len(trial), len(trial)))
        sums = sets.no_sums(trial.shape)
        for here, part in zip(rows.blocks, x, strict=True):
            gradient += part @ residual[here]
            information += (part * hazard[here]) @ part.T
            sets.add(sums, part * weights[here], here)
        risk_sums = sets.at_risk(sums)
        information -= (risk_sums * terms.second) @ risk_sums.T
        if self.ties == "efron":
            event_sums = sets.having_event(sums)
            mixed = (risk_sums * terms.second_a) @ event_sums.T
            information += mixed + mixed.T - (event_sums * terms.second_aa) @ event_sums.T
        return np.concatenate(([log_likelihood], gradient, information[upper_triangle(len(trial))]))

    def evaluation(self, trial: Float, total: Float, exponents: Int) -> Evaluation:
        """The sums are the likelihood."""
        return unpack(total, self.specification.error(exponents), len(trial))
