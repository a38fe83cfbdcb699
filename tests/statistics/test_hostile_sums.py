"""Any opened sums end in a result or in a typed error, in whatever round a region starts to lie."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.statistics import Cox, Limits, LocalError, Logistic, Model, ModelError, State
from hefed.statistics.arithmetic import Float, exact_sum, exponential_bound
from hefed.statistics.columns import Ranges, Spreads, Vote
from hefed.statistics.cox_shared import TimeRanges
from tests.statistics.driver import table

REGIONS = 3


def region(random: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    return {
        "a": random.integers(40, 95, size).astype(float),
        "b": np.round(random.normal(size=size), 2),
        "t": random.integers(1, 60, size).astype(float),
        "y": (random.uniform(size=size) < 0.4).astype(float),
    }


def model(kind: str, **options: Any) -> Model[Any]:
    common: dict[str, Any] = {"regions": REGIONS, "noise_bits": 70, **options}
    if kind == "logistic":
        return Logistic(("a", "b"), "y", **common)
    return Cox(("a", "b"), "t", "y", baseline="shared" if kind == "shared" else "per-region", **common)


def false_votes(random: np.random.Generator, vote: Vote) -> Float:
    """Opened votes that look like those of all regions, for anything."""
    parts = []
    for choice in vote.choices:
        part = np.zeros(len(choice))
        np.add.at(part, random.integers(0, len(choice), REGIONS), 1.0)
        parts.append(part)
    return np.concatenate(parts)


def false_sum(random: np.random.Generator, state: State, honest: Float, bounds: Float) -> Float:
    """An opened sum as a region can make it that knows the honest part: anything up to the number of regions."""
    if isinstance(state.phase, Ranges | Spreads | TimeRanges) and random.uniform() < 0.8:
        return false_votes(random, state.phase.vote)
    largest = REGIONS * bounds
    kind = random.integers(0, 6)
    if kind == 0:
        return random.uniform(-1, 1, len(bounds)) * largest
    if kind == 1:
        return np.rint(random.uniform(0, 3, len(bounds)))
    if kind == 2:
        return random.choice([-1.0, 1.0]) * largest
    if kind == 3:
        return np.clip(honest * 10 ** random.uniform(-3, 6), -largest, largest)
    some = random.uniform(size=len(bounds)) < (0.2 if kind == 4 else 0.8)
    return np.where(some, random.choice([-1.0, 0.0, 1.0], len(bounds)) * largest, honest)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(["logistic", "per-region", "shared"]),
    st.integers(0, 8),
    st.sampled_from([0.0, 1.0]),
)
def test_no_sum_raises_anything_but_a_typed_error(seed: int, kind: str, honest_rounds: int, ridge: float) -> None:
    random = np.random.default_rng(seed)
    one = model(kind, ridge=ridge)
    rows = [one.prepare(table(region(random, int(random.choice([5, 20, 60]))))) for _ in range(REGIONS)]
    state = one.start()
    with np.errstate(all="ignore"):
        try:
            while not state.finished:
                exponents = one.request(state).exponents
                assert exponents.min() >= -900  # what can be encrypted
                assert exponents.max() <= 900
                total = np.sum([one.contribution(part, state) for part in rows], axis=0)
                if state.rounds >= honest_rounds:
                    total = false_sum(random, state, total, np.ldexp(1.0, exponents.astype(int)))
                state = one.step(state, total)
        except (ModelError, LocalError):
            return
    assert state.result is not None
    assert np.isfinite([*state.result.estimate, *state.result.std_error]).all()


def until(one: Model[Any], rows: list[Any], purpose: str) -> State:
    state = one.start()
    while one.request(state).purpose != purpose:
        state = one.step(state, np.sum([one.contribution(part, state) for part in rows], axis=0))
    return state


def honest_rows(one: Model[Any]) -> list[Any]:
    random = np.random.default_rng(1)
    return [one.prepare(table(region(random, 60))) for _ in range(REGIONS)]


def test_means_beyond_every_value_are_refused() -> None:
    """They would send the next round's exponents past the end of its table."""
    one = model("logistic")
    state = until(one, honest_rows(one), "means")
    with pytest.raises(ModelError, match="the opened means lie beyond the largest values"):
        one.step(state, np.array([180.0, 70.0, 1e30, 0.0]))


def test_a_vote_above_its_range_is_a_refusal() -> None:
    vote = Vote((range(0, 4), range(-2, 3)))
    assert vote.cast([3, -7]).tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    with pytest.raises(LocalError, match="cannot be the sums of honest contributions"):
        vote.cast([0, 3])


def test_more_events_than_patients_are_refused() -> None:
    one = model("per-region")
    state = until(one, honest_rows(one), "means")
    with pytest.raises(ModelError, match="count 70 events of 0 patients"):
        one.step(state, np.array([0.0, 70.0, 0.0, 0.0]))


def test_a_shared_baseline_with_more_events_than_fit_into_memory_is_refused() -> None:
    one = model("shared")
    random = np.random.default_rng(1)
    votes = until(one, honest_rows(one), "ranges")
    assert isinstance(votes.phase, Ranges)
    cast = votes.phase.vote.cast([26, 7, 3])
    state = one.step(votes, REGIONS * cast)
    state = one.step(state, np.array([2.0**27, 2.0**26, 0.0, 0.0]))
    state = one.step(state, REGIONS * state.phase.vote.cast([7, 3]))  # type: ignore[attr-defined]
    state = one.step(state, np.array([2.0**40, 2.0**32]))
    assert isinstance(state.phase, TimeRanges)
    with pytest.raises(ModelError, match="more than the 4194304 that a shared baseline can have"):
        one.step(state, false_votes(random, state.phase.vote))


def test_information_too_large_for_the_next_bounds_is_refused() -> None:
    one = model("logistic", limits=Limits())
    state = until(one, honest_rows(one), "newton")
    with pytest.raises(ModelError, match="cannot be those of honest contributions"), np.errstate(all="ignore"):
        one.step(state, np.array([-1e300, 1e300, -1e300, 1e300, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]))


def test_sums_beyond_float64_are_no_number() -> None:
    assert exact_sum([1e16, 1.0, -1e16]) == 1.0
    assert np.isnan(exact_sum([np.inf, -np.inf]))
    assert np.isnan(exact_sum([1.7e308, 1.7e308]))
    assert exponential_bound(np.nan) == exponential_bound(np.inf) == exponential_bound(1e6) == np.inf
    assert np.exp(709.0) <= exponential_bound(709.0) < np.inf
