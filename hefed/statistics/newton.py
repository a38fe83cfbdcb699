"""Newton's method on opened sums: accept or halve, converged or not, and why an estimate does not exist.

Relies on `Likelihood`s for the sums and on arithmetic.py for everything that regions must decide alike. Coordinates are
those of the standardised columns, so thresholds mean the same for every unit of measurement.
Must not look at a table: what is not in the opened sums is not known here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from hefed.statistics.arithmetic import DependentColumn, Factor, Float, Int, exact_sum, factorise, frozen
from hefed.statistics.columns import hexadecimal
from hefed.statistics.errors import ModelError
from hefed.statistics.likelihood import Evaluation, Likelihood, Point
from hefed.statistics.model import DISHONEST, Phase, R, Specification
from hefed.statistics.result import FitResult

DECREMENT_TOLERANCE: Final = 1e-7
"""Converged when sqrt(g' H^-1 g), the Newton decrement (Boyd and Vandenberghe, section 9.5.1), is below this: no
coefficient then moves by more than this many standard errors, and H is that of the estimate to about as many parts.
The last step is still taken; convergence being quadratic, what remains is near the square."""

PREDICTOR_TOLERANCE: Final = 5e-7
"""Converged also when the step changes no linear predictor by more than this, as in large tables long before: it then
changes H by a factor of at most exp(2 * 5e-7), and standard errors by half of that ..."""

LOOSE_DECREMENT: Final = 1e-3
"""... provided the decrement is below this: what remains after the last step is about 2 * 5e-7 of it."""

STALLED: Final = 1.0 / 16.0
"""Squared decrements near the optimum shrink at every step by more than this factor, until only noise is left."""

LIKELIHOOD_ROUNDING: Final = 2.0**-40
"""Relative fall of the log-likelihood that counts as rounding in the regions' sums of up to 2^26 float64 terms."""

MAXIMUM_HALVINGS: Final = 20
"""Halvings of one step; a step 2^-20 as long that still does not help is no direction of ascent."""

PIVOT_TOLERANCE: Final = 1e-10
"""At the first point: part of a column's information that is left after the columns before it, below which it is
collinear. float64 sums leave about 1e-15; R's coxph uses 1.8e-12, and glm about 1e-22 on the squared scale."""

LATE_PIVOT_TOLERANCE: Final = 1e-13
"""The same at later points, where collinear columns are gone already and only vanishing information is meant."""

PIVOT_NOISE: Final = 8.0
"""A pivot below this times the number of columns times the error of an opened sum is not told from zero."""

NAMED_WEIGHT: Final = 1e-3
"""A column is named as part of a collinearity if its weight, both columns scaled to unit information, is above this."""

SEPARATION_GAIN: Final = 1e-4
"""The log-likelihood has converged when a step would raise it by less: far below anything that a test could see."""

SEPARATION_RATE: Final = 0.05
"""Squared decrements near a finite optimum go down quadratically, here from 2e-4 to 1e-7 or so; along a separating
direction, where the likelihood approaches its bound like exp(-b), by a factor of 1/e = 0.37 at every step."""

SEPARATION_SHRINKAGE: Final = 0.5
"""The same for steps: along a separating direction they keep their length."""

SEPARATION_MOVE: Final = 0.1
"""A coefficient still moves if its step changes the linear predictor of some patient by more than this; along a
separating direction it changes by about 1 in every step."""

MAXIMUM_SPREAD: Final = 15.0
"""Standard deviation of the linear predictor beyond which coefficients are growing without end: between two patients
one deviation apart, odds or hazards would differ by a factor of 3 million."""


@dataclass(frozen=True, eq=False)
class Newton(Phase[R]):
    """One evaluation of the likelihood.

    Attributes:
        trial: (p,) where.
        accepted: the best point so far.
        last_step, last_squared_decrement: (p,) the full Newton step at `accepted`, and its g' H^-1 g.
        evaluations, iterations, halvings: made so far; accepted so far; of the step under way.
        null: the evaluation at the start.
    """

    likelihood: Likelihood[R]
    specification: Specification
    trial: Float
    accepted: Point | None = None
    last_step: Float | None = None
    last_squared_decrement: float = math.inf
    evaluations: int = 0
    iterations: int = 0
    halvings: int = 0
    null: Evaluation | None = None
    purpose: ClassVar[str] = "newton"

    def exponents(self) -> Int:
        """As the likelihood says."""
        return self.likelihood.exponents(self.trial, self.accepted)

    def contribution(self, rows: R) -> Float:
        """As the likelihood says; within the limits, except at the null model, whose weights are all equal."""
        limits = None if self.accepted is None else self.specification.limits
        return self.likelihood.contribution(rows, self.trial, limits)

    def step(self, total: Float) -> tuple[Phase[R] | FitResult, str]:
        """Accept the trial point, and go on or finish; or halve the step."""
        here = self.likelihood.evaluation(self.trial, total, self.exponents())
        if self.accepted is not None and self._falls(self.accepted, here):
            return self._halve(self.accepted)
        return self._accept(Point(self.trial, here))

    def _penalty(self, coefficients: Float) -> float:
        squares = self.likelihood.penalised * coefficients * coefficients
        return 0.5 * self.specification.ridge * exact_sum(squares)

    def _falls(self, accepted: Point, here: Evaluation) -> bool:
        before = accepted.evaluation
        gain = (here.log_likelihood - self._penalty(self.trial)) - (
            before.log_likelihood - self._penalty(accepted.coefficients)
        )
        noise = here.log_likelihood_error + before.log_likelihood_error
        return gain < -(noise + LIKELIHOOD_ROUNDING * abs(before.log_likelihood))

    def _halve(self, accepted: Point) -> "tuple[Newton[R], str]":
        if self.halvings >= MAXIMUM_HALVINGS:
            raise ModelError(
                f"no convergence: the likelihood falls even after {MAXIMUM_HALVINGS} halvings of a step: "
                "look for a column with extreme values, or use a ridge penalty"
            )
        trial = frozen(0.5 * (accepted.coefficients + self.trial))
        following = self._next(trial)
        return replace(following, halvings=self.halvings + 1), f"newton {following.evaluations}: halved"

    def _next(self, trial: Float) -> "Newton[R]":
        """The same state, one evaluation later. ModelError if that was the last one."""
        rounds = self.specification.limits.rounds
        if self.evaluations + 1 >= rounds:
            raise ModelError(
                f"no convergence in {rounds} Newton rounds (limit rounds): look for columns with extreme values or "
                "nearly separated outcomes, or use a ridge penalty"
            )
        return replace(self, trial=trial, evaluations=self.evaluations + 1)

    def _accept(self, here: Point) -> "tuple[Newton[R] | FitResult, str]":
        first = self.accepted is None
        null = self.null or here.evaluation
        ridge = self.specification.ridge * self.likelihood.penalised
        gradient = here.evaluation.gradient - ridge * here.coefficients
        factor = self._factorise(here.evaluation, ridge, first)
        step = factor.solve(gradient)
        covariance = factor.inverse()
        gain = exact_sum(gradient * step)
        if not np.isfinite([gain, *step, *covariance.ravel()]).all():
            raise ModelError(f"the Newton step is beyond float64: {DISHONEST}")
        squared_decrement = max(0.0, gain)
        noise = exact_sum(here.evaluation.gradient_error * np.sqrt(np.diagonal(covariance)))
        record = (
            f"newton {self.evaluations + 1}: accepted, log-likelihood {here.evaluation.log_likelihood.hex()}, "
            f"squared decrement {squared_decrement.hex()}"
        )
        self._check_separation(step, squared_decrement, noise)
        if self._converged(step, squared_decrement, noise):
            estimate = here.coefficients + step
            result = self._result(estimate, covariance, here.evaluation.log_likelihood, null)
            return result, f"{record}, converged to {hexadecimal(estimate)}"
        trial = frozen(here.coefficients + self._shortening(step) * step)
        self._check_spread(trial, null)
        following = replace(
            self._next(trial),
            accepted=here,
            last_step=frozen(step),
            last_squared_decrement=squared_decrement,
            iterations=self.iterations + (not first),
            halvings=0,
            null=null,
        )
        return following, record

    def _converged(self, step: Float, squared_decrement: float, noise: float) -> bool:
        """The step is small enough; or it is within the bound on its noise (which is wide) and no longer shrinking."""
        if squared_decrement <= DECREMENT_TOLERANCE**2:
            return True
        if squared_decrement <= LOOSE_DECREMENT**2 and self._predictor_change(step) <= PREDICTOR_TOLERANCE:
            return True
        stalled = squared_decrement > STALLED * self.last_squared_decrement
        return stalled and squared_decrement <= (DECREMENT_TOLERANCE + noise) ** 2

    def _predictor_change(self, step: Float) -> float:
        """A bound on the change of any linear predictor."""
        return exact_sum(np.abs(step) * self.likelihood.reach)

    def _shortening(self, step: Float) -> float:
        """The factor that brings a step within its limits."""
        size = np.abs(step)
        lengths_and_limits = (
            (float(size.max()), self.specification.limits.step),
            (float((size * self.likelihood.reach).max()), self.likelihood.largest_move),
            (self._predictor_change(step), self.likelihood.largest_change),
        )
        return min((1.0, *(limit / length for length, limit in lengths_and_limits if length > limit)))

    def _factorise(self, evaluation: Evaluation, ridge: Float, first: bool) -> Factor:
        """L D L' of the penalised information. ModelError, with names and cause, if it is singular."""
        information = evaluation.information + np.diag(ridge)
        diagonal = np.diagonal(information)
        position = np.arange(1, len(diagonal) + 1)
        noise = PIVOT_NOISE * position * evaluation.information_error
        if first:
            empty = diagonal <= np.maximum(PIVOT_TOLERANCE * self.likelihood.typical_information, noise)
            if empty.any():
                raise ModelError(
                    f"{self._columns(np.flatnonzero(empty))} {self.likelihood.reason_without_information}: "
                    "take it out of the covariates"
                )
        tolerance = PIVOT_TOLERANCE if first else LATE_PIVOT_TOLERANCE
        factor = factorise(information, np.maximum(tolerance * diagonal, noise))
        if isinstance(factor, Factor):
            return factor
        if first:
            raise self._collinear(factor, diagonal)
        raise self._separated([factor.index])

    def _columns(self, indices: Iterable[np.intp | int]) -> str:
        names = [repr(self.likelihood.names[j]) for j in indices]
        return f"column{'s' * (len(names) > 1)} {', '.join(names)}"

    def _collinear(self, dependent: DependentColumn, diagonal: Float) -> ModelError:
        before = diagonal[: dependent.index]
        weights = np.abs(dependent.weights) * np.sqrt(before / diagonal[dependent.index])
        others = [j for j in np.flatnonzero(weights > NAMED_WEIGHT) if self.likelihood.penalised[j]]
        return ModelError(
            f"{self._columns([dependent.index])} is collinear: to the precision of the sums it follows from "
            f"{self._columns(others)}: take one of them out of the covariates"
        )

    def _separated(self, indices: Iterable[np.intp | int]) -> ModelError:
        covariates = [j for j in indices if self.likelihood.penalised[j]]
        named = self._columns(covariates) if covariates else "a combination of the covariates"
        return ModelError(
            f"no finite estimate: the coefficient of {named} keeps growing while the likelihood hardly gains, because "
            "it separates patients with and without events (almost) completely: take it out, merge its categories, or "
            "use a ridge penalty"
        )

    def _check_separation(self, step: Float, squared_decrement: float, noise: float) -> None:
        """ModelError if the likelihood has converged before the coefficients (a warning in R's coxph)."""
        if self.last_step is None or 0.5 * squared_decrement > max(SEPARATION_GAIN, noise * noise):
            return
        if squared_decrement < SEPARATION_RATE * self.last_squared_decrement:
            return
        unshrunk = np.abs(step) >= SEPARATION_SHRINKAGE * np.abs(self.last_step)
        moving = np.abs(step) * self.likelihood.reach >= SEPARATION_MOVE
        growing = np.flatnonzero(unshrunk & moving)
        if len(growing):
            raise self._separated(growing)

    def _check_spread(self, trial: Float, null: Evaluation) -> None:
        """ModelError if linear predictors would spread too far; the null information is the covariates' covariance."""
        weights = self.likelihood.penalised * trial
        terms = null.information * np.multiply.outer(weights, weights)
        if exact_sum(terms.ravel()) > MAXIMUM_SPREAD**2 * self.likelihood.typical_information:
            size = np.abs(weights)
            raise self._separated(np.flatnonzero(size >= 0.5 * size.max()))

    def _result(self, estimate: Float, covariance: Float, log_likelihood: float, null: Evaluation) -> FitResult:
        """Back to the original scale: b_j / scale_j, and for the intercept b_0 - sum b_j centre_j / scale_j."""
        scales = self.likelihood.scales
        transformation = np.diag(1.0 / np.concatenate(([1.0] * self.likelihood.has_intercept, scales.scale)))
        if self.likelihood.has_intercept:
            transformation[0, 1:] = -scales.centre / scales.scale
        original = [exact_sum(row * estimate) for row in transformation]
        variance = [exact_sum((covariance * np.multiply.outer(row, row)).ravel()) for row in transformation]
        if not np.isfinite(original).all() or not all(0.0 < value < math.inf for value in variance):
            raise ModelError(
                "a standard error is beyond the precision of the sums: look for a column that varies by very little "
                "around a large value, and take a constant off it"
            )
        return FitResult(
            names=self.likelihood.names,
            estimate=tuple(original),
            std_error=tuple(math.sqrt(value) for value in variance),
            log_likelihood=log_likelihood,
            log_likelihood_null=self.likelihood.null_log_likelihood(null),
            iterations=self.iterations + (self.accepted is not None),
            converged=True,
            n=scales.n,
            events=scales.events,
        )
