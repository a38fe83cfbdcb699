"""The noise of opened integers is what the one function says: its variance, its shape, its bound."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chi2, norm

from hefed.crypto import packing, ring
from hefed.crypto.keys import Seed
from hefed.crypto.masking import PublicProducts
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


def own_noise(federation, i):
    """e_i, which only the contributor itself can take out of its contribution: c + a_L s - m."""
    profile, values = federation.profile, federation.label.values
    secret = federation.keys[i].secret_polynomial(profile)
    masks, group = PublicProducts(federation.label, secret), ring.lane_group(profile)
    masks.fill(0, group, 0, profile.blocks(values))
    ring.untwist(profile, 0, group)
    p = profile.primes[0]
    product = group.T.reshape(-1)[:values].astype(np.int64)
    contribution = packing.unpack(profile, federation.encrypt(i), values)[0].astype(np.int64)
    noise = (contribution + product - (federation.messages[i] % p).astype(np.int64)) % p
    return np.where(noise > p // 2, noise - p, noise)


def test_each_contributor_s_own_noise_is_its_secret_s_and_each_label_s():
    federations = [Federation(COMPACT, 8192, round=r) for r in (1, 2)]
    noises = [own_noise(f, i).astype(float) for f in federations for i in (0, 1)]
    variance = float(federations[0].precision.variance_contribution)
    for noise in noises:
        assert UNLIKELY < chi2.sf((noise**2).sum() / variance, noise.size) < 1 - UNLIKELY
    for a, b in combinations(noises, 2):
        assert abs((a * b).sum()) / (variance * a.size**0.5) < 6
    assert np.array_equal(own_noise(federations[0], 0), noises[0])  # the same label: the same noise


def test_noise_depends_on_the_noise_secret():
    first, second = Federation(COMPACT, 100), Federation(COMPACT, 100)
    key = second.keys[0]
    key.noise_secret = Seed(bytes(32))
    assert not np.array_equal(own_noise(first, 0), own_noise(second, 0))
