"""The instructions that kernels are made of, against Python's integers, on random and extreme inputs in every lane."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.crypto import lanes, shuffles
from hefed.crypto.parameters import PROFILES

PRIMES = sorted({p for profile in PROFILES.values() for p in profile.primes})
every_prime = pytest.mark.parametrize("p", PRIMES, ids=hex)


@numba.njit
def _product(a, w, ratio, p, out):
    for i in range(a.shape[0]):
        product = lanes.product(lanes.load(a, i), lanes.load(w, i), lanes.load(ratio, i), lanes.spread(p))
        lanes.store(out, i, product)


@numba.njit
def _reduced(a, p, out, residue):
    for i in range(a.shape[0]):
        made = lanes.reduced(lanes.load(a, i), lanes.spread(1.0 / p), lanes.spread(p))
        lanes.store(out, i, made)
        lanes.store(residue, i, lanes.residue(made, lanes.spread(p)))


@numba.njit
def _residue(a, p, out):
    for i in range(a.shape[0]):
        lanes.store(out, i, lanes.residue(lanes.load(a, i), lanes.spread(p)))


@numba.njit
def _six_bytes(values, data, again):
    shuffles.store_six_bytes(data, 1, lanes.load(values, 0))
    lanes.store(again, 0, shuffles.load_six_bytes(data, 1))


@numba.njit
def _compared(a, b, bound, out):
    top = shuffles.largest(lanes.load(a, 0), lanes.load(b, 0))
    lanes.store(out, 0, top)
    return shuffles.any_reaches(top, lanes.spread(bound))


@numba.njit
def _turned(rows, row, out, first, step):
    shuffles.turn_rows(rows, row, out, first, step)


@numba.njit
def _wide(a, b, c):
    return lanes.multiply_add_wide(a, b, c)


@numba.njit
def _power(exponent):
    return shuffles.power_of_two(exponent)


@numba.njit
def _nearest(a):
    return lanes.nearest(a)


def integers(bound, seed, shape=(500, 8)):
    """Integers up to a bound in magnitude: of any size, many at the ends, all exact in float64."""
    rng = np.random.default_rng(seed)
    drawn = np.trunc(np.ldexp(rng.uniform(-1, 1, shape), rng.integers(0, bound.bit_length(), shape)))
    ends = np.array([0, 1, -1, bound, -bound, bound - 1, 1 - bound, bound // 2, bound // 2 + 1], np.float64)
    return np.where(rng.random(shape) < 0.3, rng.choice(ends, shape), np.clip(drawn, -bound, bound))


@every_prime
def test_products_are_exact_and_small(p):
    a, w, out = integers(2**52 - 1, 1), integers(p // 2, 2), np.empty((500, 8))
    _product(a, w, w / p, float(p), out)
    for x, y, made in zip(*(map(int, array.ravel().tolist()) for array in (a, w, out)), strict=True):
        assert (made - x * y) % p == 0
        assert abs(made) <= p * (Fraction(1, 2) + Fraction(abs(x), 2**53))


@every_prime
def test_reductions_are_exact_and_small(p):
    largest = 2**46 * (p - 1)
    a, out, residue = integers(largest, 3), np.empty((500, 8)), np.empty((500, 8))
    a[0] = [0, p, -p, p - 1, 1 - p, p // 2, p // 2 + 1, 2 * p - 1]
    _reduced(a, float(p), out, residue)
    for x, made, least in zip(*(map(int, array.ravel().tolist()) for array in (a, out, residue)), strict=True):
        assert (made - x) % p == 0
        assert abs(made) <= p * Fraction(1, 2) + Fraction(abs(x), 2**52)
        assert least == x % p


@every_prime
def test_residues_are_found_within_their_whole_range(p):
    a, out = integers(p, 4), np.empty((500, 8))
    a[0] = [-p, -1, 0, p - 1, p, p + 1, 2 * p - 1, 1 - p]
    a[1:200] += p * (a[1:200] >= 0) * (a[1:200] < p)
    _residue(a, float(p), out)
    assert out.ravel().tolist() == [int(x) % p for x in a.ravel().tolist()]


@given(st.lists(st.integers(0, 2**48 - 1) | st.sampled_from([0, 2**48 - 1, 2**47]), min_size=8, max_size=8))
def test_eight_integers_are_48_bytes_and_come_back(values):
    data, again = np.full(50, 0xAB, np.uint8), np.empty(8)
    _six_bytes(np.array(values, np.float64), data, again)
    assert data[1:49].tobytes() == b"".join(x.to_bytes(6, "little") for x in values)
    assert (data[0], data[49]) == (0xAB, 0xAB)
    assert again.tolist() == values


@pytest.mark.parametrize("lane", range(8))
def test_a_bound_is_reached_in_any_lane(lane):
    for high, reached in ((99.0, False), (100.0, True), (101.0, True)):
        for which in (0, 1):
            pair, out = np.full((2, 8), 7.0), np.empty(8)
            pair[which, lane] = high
            assert _compared(pair[0].copy(), pair[1].copy(), 100.0, out) is reached
            assert out.tolist() == np.maximum(*pair).tolist()


@pytest.mark.parametrize(("first", "step"), [(0, 8), (3, 11), (70, -8)])
def test_rows_are_turned_into_columns(first, step):
    rows, out = np.arange(96.0).reshape(12, 8), np.full(100, -1.0)
    _turned(rows, 2, out, first, step)
    expected = np.full(100, -1.0)
    for lane in range(8):
        expected[first + lane * step : first + lane * step + 8] = rows[2:10, lane]
    assert out.tolist() == expected.tolist()


int64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]))


@given(int64, int64, int64)
def test_a_wide_product_has_128_bits(a, b, c):
    low, high = _wide(np.int64(a), np.int64(b), np.int64(c))
    exact = (a * b + c + 2**127) % 2**128 - 2**127
    assert (low % 2**64) + (high << 64) == exact


def test_every_power_of_two_is_exact():
    for exponent in range(-1022, 1024):
        assert _power(np.int64(exponent)) == 2.0**exponent


@pytest.mark.parametrize("value", [0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 2.0**52 + 1, -(2.0**53), 1e300, 0.0])
def test_the_nearest_integer_is_pythons(value):
    assert _nearest(value) == round(value)


# --- What is no array of theirs -------------------------------------------------------------------

FLOATS, BYTES = np.zeros((8, 8)), np.zeros(200, np.uint8)
NO_FLOATS = [FLOATS.astype(np.float32), np.zeros((16, 16))[::2, ::2], BYTES]
NO_BYTES = [BYTES.astype(np.int8), np.zeros(400, np.uint8)[::2], FLOATS]


@numba.njit
def _loads(array):
    lanes.store(np.zeros(8), 0, lanes.load(array, 0))


@numba.njit
def _stores(array):
    lanes.store(array, 0, lanes.spread(1.0))


@numba.njit
def _turns(array):
    shuffles.turn_rows(array, 0, np.zeros(64), 0, 8)


@numba.njit
def _turns_into(array):
    shuffles.turn_rows(np.zeros((8, 8)), 0, array, 0, 8)


@numba.njit
def _reads_words_into(array):
    shuffles.words_to_rows(np.zeros(200, np.uint8), 0, 6, 255, array, 0)


@numba.njit
def _reads_words(array):
    shuffles.words_to_rows(array, 0, 6, 255, np.zeros((8, 8)), 0)


@numba.njit
def _reads_a_word(array):
    return lanes.word_at(array, 0)


@numba.njit
def _writes_a_word(array):
    lanes.store_word(array, 0, np.uint64(1))


@numba.njit
def _loads_six(array):
    lanes.store(np.zeros(8), 0, shuffles.load_six_bytes(array, 0))


@numba.njit
def _stores_six(array):
    shuffles.store_six_bytes(array, 0, lanes.spread(1.0))


@pytest.mark.parametrize(
    ("kernel", "right", "wrong"),
    [(kernel, FLOATS, NO_FLOATS) for kernel in (_loads, _stores, _turns, _turns_into, _reads_words_into)]
    + [(kernel, BYTES, NO_BYTES) for kernel in (_reads_words, _reads_a_word, _writes_a_word, _loads_six, _stores_six)],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_an_array_of_another_type_or_layout_is_no_program(kernel, right, wrong):
    """They address memory by themselves: what is not laid out as they take it must not compile."""
    kernel(right.copy())
    for array in wrong:
        with pytest.raises(numba.TypingError):
            kernel(array)
