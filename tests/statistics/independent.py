"""Answers found in another way than hefed's, on pooled rows."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


def logistic_fit(
    columns: dict[str, np.ndarray], covariates: Sequence[str], outcome: str, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and standard errors, intercept first, by a general minimiser."""
    raw = np.column_stack([columns[name] for name in covariates])
    mean, deviation = raw.mean(axis=0), raw.std(axis=0)
    x = np.column_stack((np.ones(len(raw)), (raw - mean) / deviation))
    y = columns[outcome]
    penalty = np.array([0.0] + [ridge] * len(covariates))

    def objective(b: np.ndarray) -> float:
        return float(np.logaddexp(0, x @ b).sum() - y @ x @ b + 0.5 * penalty @ b**2)

    def gradient(b: np.ndarray) -> np.ndarray:
        return x.T @ (expit(x @ b) - y) + penalty * b

    def hessian(b: np.ndarray) -> np.ndarray:
        p = expit(x @ b)
        return x.T @ (x * (p * (1 - p))[:, None]) + np.diag(penalty)

    best = minimize(
        objective, np.zeros(x.shape[1]), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-9}
    ).x
    back = np.eye(x.shape[1])
    back[0, 1:] = -mean / deviation
    back[1:, 1:] = np.diag(1 / deviation)
    return back @ best, np.sqrt(np.diag(back @ np.linalg.inv(hessian(best)) @ back.T))
