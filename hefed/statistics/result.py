"""The fitted model as it is reported. Nothing here is a decision, so libm is allowed."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

CONFIDENCE_LEVEL: Final = 0.95
"""Coverage of the Wald intervals, the level that clinical journals expect."""

_QUANTILE: Final = NormalDist().inv_cdf(0.5 + CONFIDENCE_LEVEL / 2)


@dataclass(frozen=True)
class FitResult:
    """Coefficients on the original scale of the columns.

    With a ridge penalty the estimate maximises the penalised log-likelihood, standard errors come from the inverse of
    the penalised information (Gray, JASA 1992), and `log_likelihood` is without the penalty.

    Attributes:
        names: the covariates; a logistic fit lists "(intercept)" first.
        estimate: log odds ratios (logistic) or log hazard ratios (Cox) for one unit of each column.
        std_error: their standard errors, from the observed information.
        log_likelihood: at the estimate (Cox: partial log-likelihood).
        log_likelihood_null: with intercept only (logistic) or all coefficients zero (Cox).
        iterations: Newton steps that were accepted; the last one, below every tolerance, is not counted.
        n: patients of all regions.
        events: outcomes equal to 1 (logistic) or events (Cox) of all regions.
    """

    names: tuple[str, ...]
    estimate: tuple[float, ...]
    std_error: tuple[float, ...]
    log_likelihood: float
    log_likelihood_null: float
    iterations: int
    converged: bool
    n: int
    events: int

    @property
    def z(self) -> tuple[float, ...]:
        """Wald statistics, estimate / std_error."""
        return tuple(b / s for b, s in zip(self.estimate, self.std_error, strict=True))

    @property
    def p_value(self) -> tuple[float, ...]:
        """Two-sided p-values of the Wald statistics."""
        return tuple(math.erfc(abs(z) / math.sqrt(2)) for z in self.z)

    @property
    def ci_lower(self) -> tuple[float, ...]:
        """Lower ends of the 95 % Wald intervals."""
        return tuple(b - _QUANTILE * s for b, s in zip(self.estimate, self.std_error, strict=True))

    @property
    def ci_upper(self) -> tuple[float, ...]:
        """Upper ends of the 95 % Wald intervals."""
        return tuple(b + _QUANTILE * s for b, s in zip(self.estimate, self.std_error, strict=True))
