"""The ridge penalty is lambda/2 times the sum of squares of the standardised coefficients, without the intercept.

Cox fits with a ridge are compared with R in test_reference.py; logistic ones here, with scipy on the pooled rows.
"""

import numpy as np
import pytest
from scipy.special import expit

from hefed.statistics import Logistic
from tests.statistics.driver import Sums, fit, split
from tests.statistics.independent import logistic_fit

COVARIATES = ("a", "b", "c")


def pooled() -> dict[str, np.ndarray]:
    random = np.random.default_rng(11)
    a = 2010 + random.integers(-2, 3, 250).astype(float)
    b = 1e-4 * random.normal(size=250)
    c = 3 * (a - 2010) + random.normal(size=250)
    y = (random.uniform(size=250) < expit(0.5 * (a - 2010) + 1e4 * b)).astype(float)
    return {"a": a, "b": b, "c": c, "y": y}


@pytest.mark.parametrize("ridge", [0.0, 0.1, 10.0, 1000.0])
@pytest.mark.parametrize("noise_bits", [None, 75, 30])
def test_penalised_logistic_fit_equals_an_independent_one(ridge: float, noise_bits: int | None) -> None:
    columns = pooled()
    estimate, std_error = logistic_fit(columns, COVARIATES, "y", ridge)
    model = Logistic(COVARIATES, "y", regions=3, noise_bits=noise_bits or 75, ridge=ridge)
    result = fit(model, split(columns, (120, 100, 30)), Sums(noise_bits)).result
    assert result is not None
    assert result.names == ("(intercept)", *COVARIATES)
    assert np.max(np.abs(result.estimate - estimate) / std_error) < 1e-6
    assert np.max(np.abs(result.std_error / std_error - 1)) < 1e-6


def test_ridge_makes_collinear_columns_estimable() -> None:
    columns = pooled()
    columns["c"] = 2 * columns["a"]
    model = Logistic(COVARIATES, "y", regions=2, noise_bits=75, ridge=1.0)
    result = fit(model, split(columns, (150, 100))).result
    assert result is not None
    assert result.estimate[1] == pytest.approx(2 * result.estimate[3], rel=1e-9)
