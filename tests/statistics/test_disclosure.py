"""What regions refuse so that opened sums are never nearly one patient's; each refusal beside the attack it stops."""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.statistics import Cox, Limits, LocalError, Logistic, Model, ModelError, State
from hefed.statistics.arithmetic import Float
from hefed.statistics.likelihood import check_effective
from hefed.statistics.newton import Newton
from tests.statistics.driver import table

UNGUARDED = Limits(min_events=0, min_effective=1.0)


def region(seed: int, size: int, events: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "age": random.integers(40, 95, size).astype(float),
        "lab": np.round(random.normal(100, 20, size), 1),
        "t": random.integers(1, 400, size).astype(float),
        "y": (np.arange(size) < events).astype(float),
    }


def logistic(limits: Limits) -> Logistic:
    return Logistic(("age", "lab"), "y", regions=3, noise_bits=70, limits=limits)


def cox(limits: Limits) -> Cox:
    return Cox(("age", "lab"), "t", "y", regions=3, noise_bits=70, limits=limits)


def until_newton(model: Model[Any], rows: list[Any]) -> tuple[State, Float]:
    """The first state of Newton's method, and the sum of the means round that all but the last region gave."""
    state, means = model.start(), np.zeros(0)
    while not isinstance(state.phase, Newton):
        parts = [model.contribution(part, state) for part in rows]
        if model.request(state).purpose == "means":
            means = np.sum(parts[:-1], axis=0)
        state = model.step(state, np.sum(parts, axis=0))
    return state, means


@pytest.mark.parametrize("make", [logistic, cox])
@pytest.mark.parametrize(("events", "accepted"), [(0, False), (4, False), (5, True), (6, True)])
def test_a_region_refuses_with_too_few_events(make: Any, events: int, accepted: bool) -> None:
    model = make(Limits(min_events=5))
    data = table(region(1, 60, events))
    if accepted:
        assert model.prepare(data).events == events
        return
    with pytest.raises(LocalError, match=r"fewer than the 5 events.* \(limit min_events\)") as refusal:
        model.prepare(data)
    assert not {"60", str(events)} & set(re.findall(r"\d+", str(refusal.value)))


@pytest.mark.parametrize(("others", "accepted"), [(0, False), (4, False), (5, True)])
def test_patients_without_the_event_can_be_too_few_for_a_logistic_fit_only(others: int, accepted: bool) -> None:
    data = table(region(1, 60, 60 - others))
    assert cox(Limits(min_events=5)).prepare(data).events == 60 - others
    if accepted:
        assert logistic(Limits(min_events=5)).prepare(data).events == 60 - others
    else:
        with pytest.raises(LocalError, match="limit min_events"):
            logistic(Limits(min_events=5)).prepare(data)


def test_without_the_limit_one_event_among_the_others_lies_open_in_a_logistic_fit() -> None:
    """A contributor that only subtracts its own part reads the covariates of the one patient with the event."""
    regions = [region(1, 60, 1), region(2, 40, 0), region(3, 50, 25)]
    model = logistic(UNGUARDED)
    rows = [model.prepare(table(part)) for part in regions]
    state, (n, events, *sums) = until_newton(model, rows)
    newton = state.phase
    assert isinstance(newton, Newton)
    scales = newton.likelihood.scales
    others = np.sum([model.contribution(part, state) for part in rows[:2]], axis=0)
    standardised = (np.array(sums) - n * scales.centre) / scales.scale
    probability = 1 / (1 + math.exp(-newton.trial[0]))
    patient = (others[2:4] + probability * standardised) * scales.scale + scales.centre
    assert events == 1
    assert patient == pytest.approx([regions[0]["age"][0], regions[0]["lab"][0]], rel=1e-9)
    for part in regions[:2]:
        with pytest.raises(LocalError, match="limit min_events"):
            logistic(Limits(min_events=5)).prepare(table(part))


def test_without_the_limit_a_region_without_events_lays_anothers_update_open_in_a_cox_fit() -> None:
    regions = [region(1, 60, 20), region(2, 40, 0), region(3, 50, 25)]
    model = cox(UNGUARDED)
    rows = [model.prepare(table(part)) for part in regions]
    state, _ = until_newton(model, rows)
    parts = [model.contribution(part, state) for part in rows]
    assert np.sum(parts, axis=0) - parts[2] == pytest.approx(parts[0], rel=1e-9)
    assert not parts[1].any()
    with pytest.raises(LocalError, match="limit min_events"):
        cox(Limits(min_events=1)).prepare(table(regions[1]))


def steered(limits: Limits) -> tuple[float, float]:
    """How far a region that lies drives the intercept before a step, a bound or a region refuses; the honest regions'
    residual sum that it reads at the last point.

    It claims a high log-likelihood, so that no step is halved, and a gradient on the intercept alone.
    """
    first, second, liar = region(1, 60, 59), region(2, 40, 40), region(3, 50, 25)
    model = logistic(limits)
    rows = [model.prepare(table(part)) for part in (first, second, liar)]
    state, _ = until_newton(model, rows)
    reached, residual = 0.0, math.nan
    for _ in range(20):
        assert isinstance(state.phase, Newton)
        bounds = np.ldexp(1.0, model.request(state).exponents.astype(int))
        try:
            honest = np.sum([model.contribution(part, state) for part in rows[:2]], axis=0)
        except LocalError:
            break
        reached, residual = float(state.phase.trial[0]), float(honest[1])
        false = np.zeros(len(bounds))
        false[[4, 7, 9]] = 0.9 * bounds[[4, 7, 9]]
        false[1] = min(2.2 * false[4], bounds[1])
        false[0] = 0.9 * bounds[0]
        try:
            state = model.step(state, honest + false)
        except ModelError:
            break
    return reached, residual


def test_false_sums_cannot_drive_a_fit_to_where_the_gradient_is_one_patients() -> None:
    reached, residual = steered(UNGUARDED)
    assert reached > 5.0
    assert residual == pytest.approx(-1.0, abs=0.5)  # the one patient without the event, and hardly anybody else
    assert steered(Limits(min_events=0))[0] < 4.0


def test_a_point_at_which_the_gradient_is_one_patients_is_refused() -> None:
    """All information weights are alike there, so that they alone would not tell."""
    data = region(1, 50, 49)
    model = logistic(Limits())
    rows = [model.prepare(table(part)) for part in (data, region(2, 50, 20), region(3, 50, 20))]
    state, _ = until_newton(model, rows)
    assert isinstance(state.phase, Newton)
    far = np.array([25.0, 0.0, 0.0])
    gradient = state.phase.likelihood.contribution(rows[0], far, None)[1:4]
    scales = state.phase.likelihood.scales
    patient = gradient[1:] / gradient[0] * scales.scale + scales.centre
    assert patient == pytest.approx([data["age"][49], data["lab"][49]], rel=1e-6)
    with pytest.raises(LocalError, match=r"fewer than 5 patients .* \(limit min_effective\)"):
        state.phase.likelihood.contribution(rows[0], far, Limits())


def test_a_point_at_which_the_martingale_residuals_are_two_patients_is_refused() -> None:
    """All patients have their event in the order of their risk, but one with the lowest risk who is the first: expected
    events are spread over all of them, while nearly all residual is that patient's and the next one's."""
    size = 40
    data = {
        "age": np.r_[50.0, 50.0 + np.arange(size - 1, 0, -1)],
        "lab": np.random.default_rng(1).normal(100, 20, size),
        "t": np.arange(1.0, size + 1),
        "y": np.ones(size),
    }
    model = cox(Limits())
    rows = [model.prepare(table(part)) for part in (data, region(2, 50, 20), region(3, 50, 20))]
    state, _ = until_newton(model, rows)
    assert isinstance(state.phase, Newton)
    scales = state.phase.likelihood.scales
    far = np.array([2.0 * scales.scale[0], 0.0])
    weights = np.exp(np.concatenate([far @ part for part in rows[0].design(scales.centre, scales.scale)]))
    _, expected = rows[0].risk_sets.expected_events(weights, "efron")
    check_effective(("age", "lab"), far, expected, Limits(min_effective=20.0))
    assert np.isfinite(state.phase.likelihood.contribution(rows[0], far, None)).all()
    with pytest.raises(LocalError, match="limit min_effective"):
        state.phase.likelihood.contribution(rows[0], far, Limits())


@given(st.integers(5, 1000), st.integers(5, 1000), st.floats(1e-9, 1 - 1e-9))
def test_at_the_null_model_as_many_patients_count_as_have_the_rarer_outcome(
    events: int, others: int, probability: float
) -> None:
    """So the null model needs no check of its own: `min_events` is one."""
    residuals = np.r_[np.full(events, 1 - probability), np.full(others, probability)]
    check_effective(("x",), np.zeros(1), residuals, Limits(min_effective=min(events, others) * (1 - 1e-12)))
