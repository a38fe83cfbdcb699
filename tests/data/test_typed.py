"""Numbers become the same float64 or are refused."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hefed.data.typed import nearest


@given(st.lists(st.integers() | st.booleans() | st.floats(allow_nan=False), min_size=1))
def test_a_number_with_a_float64_of_its_own_is_exact_and_another_one_is_not(numbers: list[Any]) -> None:
    floats, exact = nearest(numbers)
    for number, found, is_exact in zip(numbers, floats.tolist(), exact.tolist(), strict=True):
        assert is_exact == (found == number)
        if is_exact and np.isfinite(found):
            assert Fraction(found) == Fraction(number)


@given(st.integers(-(10**15), 10**15), st.integers(-200, 200))
def test_decimals_of_fifteen_digits_are_taken_and_rounded_as_python_rounds_them(digits: int, exponent: int) -> None:
    number = Decimal(digits).scaleb(exponent)
    (found,), (is_exact,) = nearest([number])
    assert is_exact
    assert found == float(str(number))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_that_is_taken_can_be_got_back(number: Decimal) -> None:
    floats, (is_exact,) = nearest([number])
    (found,) = floats.tolist()
    assert is_exact == (math.isfinite(found) and number in (Decimal(repr(found)), Decimal(found)))


def test_what_lies_beyond_float64_is_not_exact() -> None:
    _, exact = nearest([10**400, -(10**400), Decimal("1e400"), Decimal("1e-400"), 0, Decimal("-0")])
    assert exact.tolist() == [False, False, False, False, True, True]
