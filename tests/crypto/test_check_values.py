"""The check of a sum: the page's formula, linear, and blind to nothing that changes a sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.crypto import packing
from hefed.crypto.contribution import check_value, verify_checks
from hefed.crypto.errors import CheckError, MalformedError, ParameterError
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES
from hefed.crypto.sampling import uniform_polynomials
from tests.crypto.federation import Federation

LIST = bytes(range(32))
BOTH = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


def by_definition(profile, residues, list_digest):
    """The sums of the page, in Python's integers."""
    n, check = profile.ring_degree, b""
    for s in range(3):
        y = uniform_polynomials(profile, tagged_hash("check y", list_digest, s), 0, 1)[0]
        for k, p in enumerate(profile.primes):
            total = 0
            for position, c in enumerate(residues[k].tolist()):
                block, j = divmod(position, n)
                if j == 0:
                    key = tagged_hash("check x", list_digest, s)
                    x = int(uniform_polynomials(profile, key, block // n, 1)[0, k, block % n])
                total += x * int(y[k, j]) * c
            check += (total % p).to_bytes(8, "little")
    return check


def random_vector(profile, values, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.integers(0, p, values, np.uint64) for p in profile.primes])


@BOTH
@pytest.mark.parametrize("values", [1, 7, 8, 9, 231, 4096, 4097, 10000])
def test_a_check_value_is_the_page_s_sum(profile, values):
    residues = random_vector(profile, values)
    assert check_value(profile, packing.pack(profile, residues), values, LIST) == by_definition(profile, residues, LIST)


@BOTH
def test_the_largest_residues_do_not_overflow(profile):
    residues = np.repeat(np.array([[p - 1] for p in profile.primes], np.uint64), 5000, axis=1)
    assert check_value(profile, packing.pack(profile, residues), 5000, LIST) == by_definition(profile, residues, LIST)


@BOTH
@pytest.mark.parametrize("sign", [1, -1])
def test_products_that_are_all_as_large_as_can_be_do_not_overflow(profile, sign):
    """c_j = y_j^-1 (p - 1) / 2 makes every product with y half a prime, with one sign: the most float64 has to hold."""
    rows = []
    for k, p in enumerate(profile.primes):
        y = uniform_polynomials(profile, tagged_hash("check y", LIST, 1), 0, 1)[0, k].tolist()
        rows.append([sign * pow(w, -1, p) * (p // 2) % p for w in y])
    residues = np.array(rows, np.uint64)
    packed = packing.pack(profile, residues)
    assert check_value(profile, packed, profile.ring_degree, LIST) == by_definition(profile, residues, LIST)


def test_blocks_beyond_the_first_n_have_factors_of_the_next_polynomial():
    values = 2048 * 2049 + 3
    residues = np.zeros((1, values), np.uint64)
    residues[0, -1], residues[0, 5] = 12345, 67890
    x = [uniform_polynomials(COMPACT, tagged_hash("check x", LIST, s), 0, 2)[:, 0].astype(object) for s in range(3)]
    y = [uniform_polynomials(COMPACT, tagged_hash("check y", LIST, s), 0, 1)[0, 0].astype(object) for s in range(3)]
    expected = b"".join(
        int((x[s][1, 1] * y[s][2] * 12345 + x[s][0, 0] * y[s][5] * 67890) % COMPACT.primes[0]).to_bytes(8, "little")
        for s in range(3)
    )
    assert check_value(COMPACT, packing.pack(COMPACT, residues), values, LIST) == expected


@BOTH
def test_a_right_sum_passes(profile):
    federation = Federation(profile, 5000)
    checks = [check_value(profile, c, 5000, LIST) for c in federation.contributions]
    verify_checks(profile, federation.total(), 5000, LIST, checks)


@settings(max_examples=60)
@given(st.data())
def test_any_change_of_a_sum_or_a_check_value_is_noticed(data):
    federation = CHECKED
    checks = [check_value(COMPACT, c, 3000, LIST) for c in federation.contributions]
    total = federation.total()
    kind = data.draw(st.sampled_from(["sum", "check", "list", "missing", "twice"]))
    list_digest = LIST
    if kind == "sum":
        residues = packing.unpack(COMPACT, total, 3000)
        where, by = data.draw(st.integers(0, 2999)), data.draw(st.integers(1, COMPACT.primes[0] - 1))
        residues[0, where] = (int(residues[0, where]) + by) % COMPACT.primes[0]
        total = packing.pack(COMPACT, residues)
    elif kind == "check":
        i, s = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
        numbers = np.frombuffer(checks[i], "<u8").copy()
        numbers[s] = (int(numbers[s]) + data.draw(st.integers(1, COMPACT.primes[0] - 1))) % COMPACT.primes[0]
        checks[i] = numbers.tobytes()
    elif kind == "list":
        list_digest = data.draw(st.binary(min_size=32, max_size=32).filter(lambda d: d != LIST))
    elif kind == "missing":
        checks.pop(data.draw(st.integers(0, 2)))
    else:
        checks.append(data.draw(st.sampled_from(checks)))
    with pytest.raises(CheckError):
        verify_checks(COMPACT, total, 3000, list_digest, checks)


CHECKED = Federation(COMPACT, 3000)


def test_changes_that_cancel_in_one_sum_do_not_cancel_in_the_check():
    """The aggregator may move an amount from one value to another: the factors of the two differ."""
    residues = packing.unpack(COMPACT, CHECKED.total(), 3000).astype(object)
    residues[0, 10], residues[0, 20] = (
        (residues[0, 10] + 999) % COMPACT.primes[0],
        (residues[0, 20] - 999) % COMPACT.primes[0],
    )
    checks = [check_value(COMPACT, c, 3000, LIST) for c in CHECKED.contributions]
    with pytest.raises(CheckError):
        verify_checks(COMPACT, packing.pack(COMPACT, residues.astype(np.uint64)), 3000, LIST, checks)


@BOTH
def test_malformed_check_values_are_refused(profile):
    federation = Federation(profile, 20)
    checks = [check_value(profile, c, 20, LIST) for c in federation.contributions]
    right, place = checks[1], 8 * (len(profile.primes) - 1)
    not_below = right[:place] + profile.primes[-1].to_bytes(8, "little") + right[place + 8 :]
    for bad in (b"", right[:-1], right + b"\0", not_below):
        with pytest.raises(MalformedError, match="check value 1 "):
            verify_checks(profile, federation.total(), 20, LIST, [checks[0], bad, checks[2]])
    with pytest.raises(MalformedError):
        check_value(profile, federation.total()[:-1], 20, LIST)
    with pytest.raises(MalformedError):
        verify_checks(profile, federation.total()[:-1], 20, LIST, checks)
    with pytest.raises(ParameterError):
        check_value(profile, federation.total(), 20, b"short")


def test_check_values_say_nothing_about_the_list_they_are_not_for():
    packed = packing.pack(PRECISE, random_vector(PRECISE, 100))
    assert check_value(PRECISE, packed, 100, LIST) != check_value(PRECISE, packed, 100, LIST[::-1])
