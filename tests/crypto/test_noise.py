"""The noise of opened integers is what the one function says: its variance, its shape, its bound."""

import numpy as np
import pytest
from scipy.stats import chi2, norm

from hefed.crypto.parameters import COMPACT, PRECISE, VARIANCE_SEAL
from tests.crypto.federation import Federation

UNLIKELY = 1e-9
CASES = [
    (COMPACT, 2, 2, 2, "vectorised"),
    (COMPACT, 3, 2, 3, "vectorised"),
    (COMPACT, 3, 2, 3, "tenseal"),
    (COMPACT, 5, 3, 2, "vectorised"),
    (COMPACT, 8, 4, 2, "vectorised"),
    (COMPACT, 3, 2, 32, "vectorised"),
    (PRECISE, 3, 2, 3, "vectorised"),
    (PRECISE, 4, 3, 5, "tenseal"),
]


@pytest.mark.parametrize(("profile", "n", "t", "contributors", "engine"), CASES)
def test_measured_noise_is_the_noise_function_s(profile, n, t, contributors, engine):
    federation = Federation(profile, 8192, contributors=contributors, keyholders=n, threshold=t)
    contributions = [federation.encrypt(i, engine) for i in range(contributors)]
    errors = federation.errors(federation.open(total=federation.total(contributions))).astype(float)
    precision = federation.precision
    variance = float(precision.variance_opened - (0 if engine == "tenseal" else contributors * VARIANCE_SEAL))
    assert np.abs(errors).max() <= precision.tail
    assert abs(errors.mean()) < 6 * (variance / errors.size) ** 0.5
    # Rounding to integers is exact in `messages`, so nothing but noise is left.
    statistic = (errors**2).sum() / variance
    assert UNLIKELY < chi2.sf(statistic, errors.size) < 1 - UNLIKELY
    # Its shape: equally likely classes of the normal distribution with this variance.
    ranks = norm.cdf((errors + np.random.default_rng(0).uniform(-0.5, 0.5, errors.size)) / variance**0.5)
    counts = np.bincount((ranks * 32).astype(int), minlength=32)
    ideal = errors.size / 32
    assert chi2.sf(((counts - ideal) ** 2).sum() / ideal, 31) > UNLIKELY


def test_noise_of_different_values_and_labels_is_independent():
    errors = [Federation(COMPACT, 8192, round=r) for r in (1, 2)]
    first, second = (f.errors(f.open()).astype(float) for f in errors)
    scale = float(errors[0].precision.variance_opened) * first.size**0.5
    for a, b in [(first, second), (first[1:], first[:-1]), (first[2048:], first[:-2048])]:
        assert abs((a * b).sum()) / scale < 6
        assert not np.array_equal(a, b)
