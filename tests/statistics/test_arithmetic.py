"""The arithmetic that all regions must agree on: right, and with the same bits whatever the processor offers."""

import json
import math
import os
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.statistics.arithmetic import (
    MINIMUM_EXPONENT,
    DependentColumn,
    Factor,
    ceiling_exponent,
    exponential_bound,
    factorise,
    logarithm,
    symmetric,
    upper_triangle,
)

ROOT = Path(__file__).parents[2]
positive = st.floats(min_value=1e-300, max_value=1e300)


@given(positive)
def test_logarithm_is_within_one_unit_in_the_last_place(x: float) -> None:
    with localcontext() as context:
        context.prec = 40
        exact = Decimal(x).ln()
        error = abs(Decimal(float(logarithm(x))) - exact)
    assert error <= Decimal(math.ulp(float(exact)))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_ceiling_exponent_is_the_smallest_that_bounds(x: float) -> None:
    exponent = int(ceiling_exponent(x))
    if abs(x) <= math.ldexp(1.0, MINIMUM_EXPONENT):
        assert exponent == MINIMUM_EXPONENT
    else:
        assert math.ldexp(1.0, exponent - 1) < abs(x)
        assert exponent == 1024 or abs(x) <= math.ldexp(1.0, exponent)


@given(st.floats(min_value=0.0, max_value=700.0))
def test_exponential_bound_is_a_bound_and_not_wide(x: float) -> None:
    assert math.exp(x) <= exponential_bound(x) <= 3.0 * math.exp(x)


def positive_definite(size: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(3 * size, size)) * np.logspace(-3, 3, size)
    return x.T @ x


@given(st.integers(1, 12), st.integers(0, 1000))
def test_factor_solves_and_inverts_like_lapack(size: int, seed: int) -> None:
    matrix = positive_definite(size, seed)
    right = np.random.default_rng(seed + 1).normal(size=size)
    factor = factorise(matrix, np.zeros(size))
    assert isinstance(factor, Factor)
    scale = np.sqrt(np.diagonal(matrix))
    expected = np.linalg.inv(matrix / np.outer(scale, scale)) / np.outer(scale, scale)
    assert np.allclose(factor.inverse() * np.outer(scale, scale), expected * np.outer(scale, scale), rtol=1e-9)
    assert np.allclose(factor.solve(right) * scale, expected @ right * scale, rtol=1e-9)


def test_factorise_names_the_dependence_of_a_column() -> None:
    x = np.random.default_rng(1).normal(size=(50, 4))
    x[:, 2] = 2 * x[:, 0] - 3 * x[:, 1]
    matrix = x.T @ x
    dependent = factorise(matrix, 1e-10 * np.diagonal(matrix))
    assert isinstance(dependent, DependentColumn)
    assert dependent.index == 2
    assert dependent.weights == pytest.approx([2, -3], abs=1e-10)


def test_triangle_round_trip() -> None:
    matrix = positive_definite(5, 0)
    assert np.array_equal(symmetric(matrix[upper_triangle(5)], 5), matrix)


PROGRAM = """
import json, sys
import numpy as np
from hefed.statistics import Cox, Logistic
recorded = json.load(sys.stdin)
names = tuple(recorded["covariates"])
for kind, totals in recorded["totals"].items():
    if kind == "logistic":
        model = Logistic(names, "y", regions=2, noise_bits=75)
    else:
        model = Cox(names, "t", "y", regions=2, noise_bits=75, baseline=kind)
    state = model.start()
    for total in totals:
        print(model.request(state).exponents.tolist())
        state = model.step(state, np.array([float.fromhex(value) for value in total]))
    assert state.finished
    print("\\n".join(state.decisions))
    print([float(value).hex() for value in (*state.result.estimate, *state.result.std_error)])
"""


def recorded_sums() -> dict[str, object]:
    """Opened sums of a logistic and both Cox fits."""
    from hefed.statistics import Cox, Logistic
    from tests.statistics.driver import split, table

    random = np.random.default_rng(2)
    x = random.normal(size=(9, 200))
    names = tuple(f"x{j}" for j in range(9))
    columns = dict(zip(names, x, strict=True))
    columns["t"] = np.ceil(random.exponential(size=200) * 40)
    columns["y"] = (random.uniform(size=200) < 1 / (1 + np.exp(-x[0]))).astype(float)
    totals: dict[str, list[list[str]]] = {}
    for kind in ("logistic", "per-region", "shared"):
        model: Logistic | Cox
        if kind == "logistic":
            model = Logistic(names, "y", regions=2, noise_bits=75)
        else:
            model = Cox(names, "t", "y", regions=2, noise_bits=75, baseline=kind)  # type: ignore[arg-type]
        rows = [model.prepare(table(region)) for region in split(columns, (120, 80))]
        state, totals[kind] = model.start(), []
        while not state.finished:
            total = np.sum([model.contribution(region, state) for region in rows], axis=0)  # type: ignore[arg-type]
            totals[kind].append([float(value).hex() for value in total])
            state = model.step(state, total)
    return {"covariates": names, "totals": totals}


def test_decisions_have_the_same_bits_whatever_the_processor_offers() -> None:
    """From the same opened sums, with numpy's and OpenBLAS's vector instructions on and off."""
    recorded = json.dumps(recorded_sums())
    outputs = []
    for settings in (
        {},
        {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3", "OPENBLAS_CORETYPE": "Prescott"},
        {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3", "OPENBLAS_NUM_THREADS": "1"},
    ):
        environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], input=recorded, env=environment, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "converged" in outputs[0]
    assert outputs[1] == outputs[0]
    assert outputs[2] == outputs[0]
