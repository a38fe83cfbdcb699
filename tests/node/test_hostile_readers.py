"""When two readers report the same: as near as linear algebra is on two machines, and no farther."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.node.analyst import AGREEMENT, _same_fit


def fit(estimate: float, std_error: float, **more: Any) -> dict[str, Any]:
    return {"estimate": [estimate], "std_error": [std_error], "log_likelihood": -1.5e-10, "n": 299, **more}


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
ERRORS = st.floats(1e-12, 1e6)


@given(NUMBERS, ERRORS)
def test_a_fit_is_the_same_as_itself(estimate: float, std_error: float) -> None:
    assert _same_fit(fit(estimate, std_error), fit(estimate, std_error))


@given(st.floats(-10, 10), ERRORS, st.floats(-0.9, 0.9))
def test_estimates_are_compared_on_the_scale_of_their_standard_error(z: float, std_error: float, part: float) -> None:
    estimate = z * std_error
    assert _same_fit(fit(estimate, std_error), fit(estimate + part * AGREEMENT * std_error, std_error))
    assert not _same_fit(fit(estimate, std_error), fit(estimate + 2 * AGREEMENT * std_error, std_error))


@given(ERRORS, st.sampled_from([1 - 1e-6, 1 + 1e-6, 0.1, -1.0]))
def test_standard_errors_are_compared_relatively(std_error: float, factor: float) -> None:
    assert not _same_fit(fit(0.5, std_error), fit(0.5, std_error * factor))


def test_small_numbers_are_not_alike_because_they_are_small() -> None:
    assert not _same_fit(fit(-4.69e-10, 1.1e-10), fit(4.69e-10, 1.1e-10))
    assert not _same_fit(fit(-4.69e-10, 1.1e-10), fit(-4.69e-10, 0.1e-10))
    assert not _same_fit(fit(1.0, 1.0), fit(1.0, 1.0, log_likelihood=1.5e-10))
    assert not _same_fit(fit(1.0, 1.0), fit(1.0, 1.0, log_likelihood=0.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1, True, "1", None, [1.0]])
def test_what_is_no_finite_float_is_no_estimate(value: Any) -> None:
    assert not _same_fit(fit(value, 1.0), fit(value, 1.0))
    assert not _same_fit(fit(1.0, value), fit(1.0, value))
    assert not _same_fit(fit(1.0, 1.0), fit(1.0, value))


def test_everything_else_is_the_same_exactly() -> None:
    one = fit(1.0, 1.0)
    assert not _same_fit(one, fit(1.0, 1.0, n=300))
    assert not _same_fit(one, fit(1.0, 1.0, n=299.0))
    assert not _same_fit(one, fit(1.0, 1.0, extra=1))
    assert not _same_fit(one, {**one, "estimate": [1.0, 1.0]})
    assert not _same_fit(one, {key: value for key, value in one.items() if key != "std_error"})
    assert _same_fit({"words": "no answer"}, {"words": "no answer"})
    assert not _same_fit({"words": "no answer"}, {"words": "another"})
