"""Profiles are what SEAL accepts at 128 bits, and capacity, tail and precision are what the page defines."""

import dataclasses
from decimal import Decimal, getcontext
from fractions import Fraction
from itertools import product
from math import comb

import pytest

from hefed.crypto import seal
from hefed.crypto.errors import ParameterError
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES, Precision, check_with_seal

BOTH = list(PROFILES.values())


@pytest.mark.parametrize("profile", BOTH, ids=lambda p: p.name)
def test_seal_accepts_the_profile_and_derives_its_primes(profile):
    check_with_seal(profile)


@pytest.mark.parametrize(
    "changes",
    [
        {"primes": (COMPACT.primes[0] - 4096,)},  # not the prime that SEAL derives
        {"ring_degree": 1024},  # 48 bits are too many for 128-bit security at this degree
    ],
)
def test_seal_refuses_other_profiles(changes):
    with pytest.raises(ParameterError):
        check_with_seal(dataclasses.replace(COMPACT, **changes))


def test_seal_refuses_a_modulus_that_is_too_wide_for_128_bits():
    primes = tuple(seal.primes_of(4096, [60, 60]))
    wide = dataclasses.replace(PRECISE, primes=primes, special_prime=None)
    with pytest.raises(ParameterError, match="128 bits"):
        check_with_seal(wide)


@pytest.mark.parametrize("profile", BOTH, ids=lambda p: p.name)
def test_primes_suit_the_ring_and_exact_float64_products(profile):
    assert all(p % (2 * profile.ring_degree) == 1 and p < 2**48 for p in profile.primes)
    assert len(set(profile.primes)) == len(profile.primes)
    assert profile.modulus_bits == profile.bits_per_value == {"compact": 48, "precise": 93}[profile.name]


def test_sizes():
    assert (COMPACT.blocks(2048), COMPACT.blocks(2049), PRECISE.blocks(1)) == (1, 2, 1)
    assert (COMPACT.packed_size(100), PRECISE.packed_size(231), PRECISE.packed_size(1)) == (600, 2686, 12)


SHARINGS = [(2, 2), (3, 2), (5, 3), (8, 4), (9, 5), (16, 2)]


@pytest.mark.parametrize(("profile", "sharing", "contributors"), list(product(BOTH, SHARINGS, (1, 3, 32, 4096))))
def test_capacity_and_tail_are_the_page_s(profile, sharing, contributors):
    (n, t), getcontext().prec = sharing, 60
    precision = Precision(profile, n, t, contributors)
    sigma_e = Decimal("4.54")
    variance = contributors * (sigma_e**2 + Decimal("10.5"))
    variance += comb(n, t - 1) * (16 * sigma_e) ** 2 * contributors
    tail = 12 * variance.sqrt()
    assert tail <= precision.tail < tail + 1
    largest = (contributors << precision.capacity_bits) + precision.tail
    assert largest == precision.largest_opened
    assert 2 * largest <= profile.modulus < 2 * (largest + (contributors << precision.capacity_bits))


def test_precise_keeps_2_to_minus_40_absolute_up_to_2_to_30():
    assert Precision(PRECISE, 3, 2, 32).error(30) <= 2**-40 + 32 * 2.0 ** (30 - 53)  # the last is float64's own
    precision = Precision(PRECISE, 3, 2, 32)
    assert Fraction(precision.tail + 16) * Fraction(2) ** (30 - precision.capacity_bits) <= Fraction(1, 2**40)


@pytest.mark.parametrize(("sharing", "contributors"), list(product([(3, 2), (5, 3), (8, 4)], (2, 3, 32))))
def test_compact_keeps_2_to_minus_30_of_the_range_of_the_sum(sharing, contributors):
    precision = Precision(COMPACT, *sharing, contributors)
    assert precision.error(0) <= contributors * 2**-30


@pytest.mark.parametrize(
    ("n", "t", "contributors"),
    [(3, 1, 3), (3, 4, 3), (1, 1, 3), (17, 2, 3), (3, 2, 0), (3, 2, 4097), (16, 8, 3)],
)
def test_sharings_and_numbers_out_of_bounds_are_refused(n, t, contributors):
    with pytest.raises(ParameterError):
        Precision(COMPACT, n, t, contributors)


def test_deviations_for_people_are_those_of_the_design():
    small, large = Precision(PRECISE, 3, 2, 3), Precision(PRECISE, 9, 5, 32)
    assert small.sigma_contribution == pytest.approx(4.54)
    assert small.sigma_answer == pytest.approx(16 * 4.54 * 3**0.5)
    assert 2**7 < small.sigma_opened < 2**8
    assert 2**12 < large.sigma_opened < 2**13
    # Hint-RLWE: 1 / sigma_0^2 = 2 (1 / sigma_e^2 + |U| / sigma_s^2), and sigma_0 is at least SEAL's 3.2.
    for precision in (small, large):
        hint = 2 * (1 / precision.variance_contribution + precision.contributors / precision.variance_answer)
        assert 1 / hint >= Fraction(32, 10) ** 2
