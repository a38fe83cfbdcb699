"""What Newton's method asks of a log-likelihood, and when a region refuses to evaluate it.

A likelihood says what each region contributes at a point, bounds those values by proof from sums that are open already,
and turns the opened sums into value, gradient and information. `exponents` and `evaluation` have the same bits on every
machine; `contribution` need not.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final, Generic

import numpy as np

from hefed.statistics.arithmetic import Float, Int, frozen, symmetric
from hefed.statistics.columns import Scales
from hefed.statistics.errors import LocalError
from hefed.statistics.model import Limits, R

INFORMATION_FLOOR: Final = 2.0**-40
"""Bounds on the information do not go below this part of what they were at the start, where rounding takes over."""

SQUARABLE: Final = (2.0**-100, 2.0**100)
"""Largest weights within which sums of weights and of squares that matter stay far inside float64."""

LARGE_COEFFICIENT: Final = 2.0
"""A standardised coefficient beyond this is named as the likely cause when a region refuses."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A likelihood at one point, from opened sums.

    Attributes:
        log_likelihood: without the penalty.
        gradient: (p,) its first derivatives.
        information: (p, p) its negative second derivatives.
        log_likelihood_error, gradient_error, information_error: bounds on the noise of the sums in the log-likelihood,
            in each derivative (p,), and in the diagonal of the information (p,).
        upper_sums: the opened sums plus their error, for a likelihood whose next exponents need them.
    """

    log_likelihood: float
    gradient: Float
    information: Float
    log_likelihood_error: float
    gradient_error: Float
    information_error: Float
    upper_sums: Float = field(default_factory=lambda: frozen(()))


@dataclass(frozen=True, eq=False)
class Point:
    """Coefficients (p,) whose step was accepted, and the likelihood there."""

    coefficients: Float
    evaluation: Evaluation


class Likelihood(ABC, Generic[R]):
    """A log-likelihood that is a sum over regions, or follows from such sums.

    Attributes:
        scales: of the columns.
        has_intercept: whether coefficient 0 is an intercept, which is neither scaled nor penalised.
        reason_without_information: why a column that varies may carry none.
        largest_move: bound on what one coefficient's step may add to any linear predictor, inf if none is needed.
        largest_change: the same for all coefficients together.
    """

    scales: Scales
    has_intercept: ClassVar[bool]
    reason_without_information: ClassVar[str]
    largest_move: ClassVar[float] = math.inf
    largest_change: ClassVar[float] = math.inf

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """(p,) of the coefficients."""

    @property
    @abstractmethod
    def typical_information(self) -> float:
        """Information about a standardised coefficient if nothing else is known."""

    @abstractmethod
    def start(self) -> Float:
        """The null model's coefficients (p,)."""

    @abstractmethod
    def null_log_likelihood(self, first: Evaluation) -> float:
        """The null model's log-likelihood, given the evaluation at `start`."""

    @abstractmethod
    def exponents(self, trial: Float, accepted: Point | None) -> Int:
        """Exponents (K,) that hold for every region's values at `trial`, given the last accepted point."""

    @abstractmethod
    def contribution(self, rows: R, trial: Float, limits: Limits | None) -> Float:
        """A region's values (K,) at `trial`; refused with LocalError outside `limits` if these are given."""

    @abstractmethod
    def evaluation(self, trial: Float, total: Float, exponents: Int) -> Evaluation:
        """The likelihood at `trial` from opened sums (K,)."""

    @property
    def penalised(self) -> Float:
        """(p,) 1 for a covariate, 0 for an intercept."""
        return np.array([0.0] * self.has_intercept + [1.0] * len(self.scales.scale))

    @property
    def reach(self) -> Float:
        """(p,) bounds on the standardised columns, 1 for an intercept."""
        return np.concatenate(([1.0] * self.has_intercept, self.scales.reach))

    @property
    def excess(self) -> Float:
        """(p,) bounds on the mean squares of the standardised columns, 1 for an intercept."""
        return np.concatenate(([1.0] * self.has_intercept, self.scales.excess))


def check_predictor(names: tuple[str, ...], trial: Float, predictor: Float, limits: Limits | None) -> None:
    """Refuse a point at which a region's own patients lie too far out: LocalError if |x'b| exceeds its limit."""
    if limits is not None and not np.abs(predictor).max() <= limits.linear_predictor:
        raise LocalError(
            f"a linear predictor of this region exceeds {limits.linear_predictor:g} (limit linear_predictor): "
            + _likely_cause(names, trial)
        )


def check_effective(names: tuple[str, ...], trial: Float, weights: Float, limits: Limits | None) -> None:
    """Refuse a point at which a region's own patients hardly count any more.

    `names` and `trial` are the covariates' and their coefficients, to tell the likely cause.
    `weights` (n,), not negative, say how much each patient counts in a sum: the weights of the information, or the
    sizes of the residuals in the gradient. LocalError if their effective number, (sum w)^2 over sum w^2 (Kish, Survey
    Sampling, 1965), is below its limit: the sum would be nearly a single patient's x, or x x'.
    Weights that are all zero disclose nothing.

    Not asked at the null model (`limits` None): its information weights are all equal, and its residuals do not depend
    on what a covariate says. The logistic ones take two values, one for each outcome, so that their effective number
    is at least that of the rarer outcome, which `min_events` bounds.
    """
    if limits is None or not weights.any():
        return
    largest = weights.max()
    # Only where squares could leave the range of float64.
    relative = weights if SQUARABLE[0] <= largest <= SQUARABLE[1] else weights / largest
    if not relative.sum() ** 2 >= limits.min_effective * (relative @ relative):
        raise LocalError(
            f"at this point fewer than {limits.min_effective:g} patients of this region would count effectively "
            f"(limit min_effective): {_likely_cause(names, trial)}"
        )


def _likely_cause(names: tuple[str, ...], trial: Float) -> str:
    large = [name for name, value in zip(names, trial, strict=True) if abs(value) > LARGE_COEFFICIENT]
    cause = (
        f"the coefficient of {', '.join(map(repr, large))} has grown large, as when a covariate separates the outcomes "
        "or has extreme values"
        if large
        else "some covariate has extreme values"
    )
    return f"{cause}; take the covariate out, transform it, or use a ridge penalty"


def unpack(total: Float, error: Float, size: int) -> Evaluation:
    """Log-likelihood, gradient and upper triangle of the information, as regions send them."""
    information = symmetric(total[1 + size :], size)
    information_error = np.diagonal(symmetric(error[1 + size :], size))
    return Evaluation(
        float(total[0]),
        frozen(total[1 : 1 + size]),
        frozen(information),
        float(error[0]),
        frozen(error[1 : 1 + size]),
        frozen(information_error),
    )
