"""Logistic regression with an intercept (McCullagh and Nelder, chapter 4), by Newton's method on sums over regions.

Reveals, at each point of Newton's path: the sums over regions of log-likelihood, gradient and information.
Must not: let the choice of exponents depend on a table.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from hefed.statistics.arithmetic import (
    Float,
    Int,
    exact_sum,
    exponential_bound,
    frozen,
    logarithm,
    upper_triangle,
)
from hefed.statistics.columns import Regression, Scales
from hefed.statistics.likelihood import (
    INFORMATION_FLOOR,
    Evaluation,
    Likelihood,
    Point,
    check_effective,
    check_predictor,
    unpack,
)
from hefed.statistics.model import Limits, Prepared, Specification, Table, exponents_of
from hefed.statistics.newton import Newton

INTERCEPT: Final = "(intercept)"


class LogisticRows(Prepared):
    """A region's table for logistic regression.

    Attributes:
        sign: (n,) 1 for a patient with the outcome, -1 for one without.
    """

    def __init__(self, table: Table, specification: Specification, outcome: str) -> None:
        has_outcome = table.indicator(outcome)
        self.sign: Float = np.where(has_outcome, 1.0, -1.0)
        events = int(has_outcome.sum())
        rarer = min(events, table.rows - events)
        super().__init__(table, specification.covariates, events, rarer, None, specification.limits)


class Logistic(Regression[LogisticRows]):
    """Logistic regression of a 0/1 column on covariates.

    Args:
        covariates: names of the columns; an intercept is added.
        outcome: name of the 0/1 column.
        regions: number of contributors.
        noise_bits: an opened sum of values with exponent x is within 2^(x - noise_bits) of the true sum.
        ridge: penalty factor of half the sum of squares of the standardised coefficients without the intercept.
        limits: what regions allow.
    """

    needs_non_events: ClassVar[bool] = True

    def __init__(
        self,
        covariates: tuple[str, ...],
        outcome: str,
        *,
        regions: int,
        noise_bits: int,
        ridge: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(Specification(tuple(covariates), regions, noise_bits, ridge, limits or Limits()))
        self.event_column = outcome

    def prepare(self, table: Table) -> LogisticRows:
        """A region's table, checked."""
        return LogisticRows(table, self.specification, self.event_column)

    def after_columns(self, scales: Scales) -> Newton[LogisticRows]:
        """Newton's method from the model with nothing but an intercept."""
        likelihood = LogisticLikelihood(self.specification, scales)
        return Newton(likelihood, self.specification, likelihood.start())


@dataclass(frozen=True, eq=False)
class LogisticLikelihood(Likelihood[LogisticRows]):
    """sum of y x'b - log(1 + exp(x'b)); values: log-likelihood, gradient, upper triangle of the information."""

    specification: Specification
    scales: Scales
    has_intercept: ClassVar[bool] = True
    reason_without_information: ClassVar[str] = "carries no information"

    @property
    def names(self) -> tuple[str, ...]:
        """The intercept, then the covariates."""
        return (INTERCEPT, *self.specification.covariates)

    @property
    def _log_odds(self) -> float:
        return float(logarithm(self.scales.events / (self.scales.n - self.scales.events)))

    @property
    def typical_information(self) -> float:
        """That of the intercept in the null model."""
        return self.scales.events * (self.scales.n - self.scales.events) / self.scales.n

    def start(self) -> Float:
        """The log odds of all patients, and zeros."""
        return frozen([self._log_odds, *np.zeros(len(self.scales.scale))])

    def _null(self) -> float:
        n, events = self.scales.n, self.scales.events
        return events * float(logarithm(events / n)) + (n - events) * float(logarithm((n - events) / n))

    def null_log_likelihood(self, first: Evaluation) -> float:
        """Known from the counts."""
        return self._null()

    def exponents(self, trial: Float, accepted: Point | None) -> Int:
        """Bounds from three facts about one patient, with p the probability and w = p (1 - p):

        the deviance -log L has slope at most 1 in x'b; (y - p)^2 <= |y - p| <= -log L; w <= 1/4, and log w has slope at
        most 1. The rest is Cauchy and Schwarz over the pooled patients.
        """
        n, excess = self.scales.n, self.excess
        deviance, information = -self._null(), np.full(len(trial), self.typical_information)
        growth = 1.0
        if accepted is not None:
            here = accepted.evaluation
            change = np.abs(trial - accepted.coefficients)
            deviance = max(0.0, here.log_likelihood_error - here.log_likelihood)
            deviance += n * exact_sum(change * np.sqrt(excess))
            floor = INFORMATION_FLOOR * self.typical_information
            information = np.maximum(np.diagonal(here.information) + here.information_error, floor)
            growth = exponential_bound(exact_sum(change * self.reach))
        else:
            information = information * excess
        gradient = np.sqrt(n * excess * min(n, deviance))
        diagonal = np.minimum(growth * information, 0.25 * n * excess)
        rows, columns = upper_triangle(len(trial))
        return exponents_of(np.concatenate(([deviance], gradient, np.sqrt(diagonal[rows] * diagonal[columns]))))

    def contribution(self, rows: LogisticRows, trial: Float, limits: Limits | None) -> Float:
        """The region's log-likelihood, gradient and information."""
        x = rows.design(self.scales.centre, self.scales.scale)
        predictor, weights, residual = np.empty((3, rows.rows))
        log_likelihood, size = 0.0, len(trial)
        gradient, information = np.zeros(size), np.zeros((size, size))
        for here, part in zip(rows.blocks, x, strict=True):
            sign = rows.sign[here]
            predictor[here] = trial[1:] @ part + trial[0]
            signed = sign * predictor[here]
            miss = np.exp(-np.abs(signed))
            log_likelihood += float(np.sum(np.minimum(signed, 0.0) - np.log1p(miss)))
            likelier = 1.0 / (1.0 + miss)  # the probability of the likelier outcome
            other = miss * likelier
            weights[here] = other * likelier
            # |y - p| = 1 / (1 + exp(signed)), in the form that does not overflow.
            residual[here] = sign * np.where(signed >= 0, other, likelier)
            weighted = part * weights[here]
            information[0, 0] += weights[here].sum()
            information[0, 1:] += weighted.sum(axis=1)
            information[1:, 1:] += weighted @ part.T
            gradient[0] += residual[here].sum()
            gradient[1:] += part @ residual[here]
        check_predictor(self.names[1:], trial[1:], predictor, limits)
        check_effective(self.names[1:], trial[1:], weights, limits)
        check_effective(self.names[1:], trial[1:], np.abs(residual), limits)
        return np.concatenate(([log_likelihood], gradient, information[upper_triangle(len(trial))]))

    def evaluation(self, trial: Float, total: Float, exponents: Int) -> Evaluation:
        """The sums are the likelihood."""
        return unpack(total, self.specification.error(exponents), len(trial))
