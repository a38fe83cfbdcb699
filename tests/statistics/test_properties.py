"""What holds for every table: how rows are dealt out and in what units columns are does not matter, no honest value is
out of its range, and no point is ever evaluated twice."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.statistics import Cox, FitResult, Limits, Logistic, Model, State, StatisticsError
from hefed.statistics.arithmetic import Float
from hefed.statistics.likelihood import Point
from hefed.statistics.model import Prepared
from hefed.statistics.newton import Newton
from hefed.statistics.risk_sets import RiskSets, Ties, tie_terms
from tests.statistics.driver import Sums, fit, split, table

N = 120


def data(seed: int) -> dict[str, np.ndarray]:
    """Two covariates, one of them with heavy tails; times with ties."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=N), random.standard_t(2.5, size=N)
    eta = 0.6 * a - 0.3 * np.clip(b, -3, 3)
    return {
        "a": a,
        "b": b,
        "t": np.ceil(30 * random.exponential(size=N) * np.exp(-eta)),
        "y": (random.uniform(size=N) < 1 / (1 + np.exp(-eta))).astype(float),
    }


KINDS = ("logistic", "per-region", "shared")


def model(kind: str, regions: int, ties: str = "efron", noise_bits: int = 75) -> Model[Any]:
    """Without refusals: regions here may be very small."""
    limits = Limits(min_effective=1.0)
    if kind == "logistic":
        return Logistic(("a", "b"), "y", regions=regions, noise_bits=noise_bits, limits=limits)
    return Cox(
        ("a", "b"),
        "t",
        "y",
        regions=regions,
        noise_bits=noise_bits,
        ties=ties,
        baseline=kind,
        limits=limits,  # type: ignore[arg-type]
    )


def assert_same(left: FitResult | None, right: FitResult | None, factor: tuple[float, ...] | None = None) -> None:
    """Equal, with estimates and errors of `left` multiplied by `factor`."""
    assert left is not None
    assert right is not None
    by = np.array(factor or [1.0] * len(left.names))
    error = np.array(right.std_error)
    assert np.all(np.abs(np.array(left.estimate) * by - right.estimate) < 1e-8 * error)
    assert np.allclose(np.array(left.std_error) * by, error, rtol=1e-8)
    assert left.log_likelihood == pytest.approx(right.log_likelihood, rel=1e-10)
    assert left.log_likelihood_null == pytest.approx(right.log_likelihood_null, rel=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(KINDS), st.randoms(use_true_random=False))
def test_order_of_rows_within_regions_does_not_matter(seed: int, kind: str, shuffle: Any) -> None:
    columns = data(seed)
    regions = split(columns, (50, 40, 30))
    shuffled = []
    for region in regions:
        order = list(range(len(region["a"])))
        shuffle.shuffle(order)
        shuffled.append({name: values[order] for name, values in region.items()})
    assert_same(fit(model(kind, 3), shuffled).result, fit(model(kind, 3), regions).result)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["logistic", "shared"]), st.integers(1, 5), st.data())
def test_dealing_rows_out_to_regions_does_not_matter(seed: int, kind: str, regions: int, draw: Any) -> None:
    columns = data(seed)
    home = np.array(draw.draw(st.lists(st.integers(0, regions - 1), min_size=N, max_size=N)))
    home[: 5 * regions] = np.repeat(np.arange(regions), 5)  # nobody has fewer than five rows
    parts = [{name: values[home == k] for name, values in columns.items()} for k in range(regions)]
    assert_same(fit(model(kind, regions), parts).result, fit(model(kind, 1), [columns]).result)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.floats(1e-6, 1e6),
    st.floats(-1e3, 1e3),
)
def test_estimates_follow_the_unit_of_a_column(seed: int, kind: str, scale: float, shift: float) -> None:
    columns = data(seed)
    changed = {**columns, "b": (columns["b"] + shift) * scale}
    here, there = (fit(model(kind, 2), split(c, (70, 50))).result for c in (columns, changed))
    assert here is not None
    assert there is not None
    if kind == "logistic":
        assert there.estimate[0] == pytest.approx(here.estimate[0] - here.estimate[2] * shift, rel=1e-6, abs=1e-6)
        there, here = (
            FitResult(
                r.names[1:], r.estimate[1:], r.std_error[1:], r.log_likelihood, r.log_likelihood_null, 0, True, N, 0
            )
            for r in (there, here)
        )
    assert_same(there, here, (1.0, scale))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.sampled_from(["efron", "breslow"]),
    st.booleans(),
)
def test_no_value_is_out_of_range_and_no_point_is_evaluated_twice(seed: int, kind: str, ties: str, noisy: bool) -> None:
    """A value out of range could not be encrypted. Two sums at one point, over different regions, would give their
    difference away."""
    noise_bits = 75 if kind == "shared" else 33
    sums = Sums(noise_bits if noisy else None)  # its `open` asserts the range of every value
    regions = split(data(seed), (60, 35, 25))
    one = model(kind, 3, ties, noise_bits)
    rows = [one.prepare(table(region)) for region in regions]
    state = one.start()
    points: list[bytes] = []
    while not state.finished:
        if isinstance(state.phase, Newton):
            points.append(state.phase.trial.tobytes())
        state = one.step(state, sums.open(one.request(state), [one.contribution(part, state) for part in rows]))
    assert len(points) >= 2
    assert len(set(points)) == len(points)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.sampled_from(["efron", "breslow"]),
    st.floats(0.0, 1.0),
    st.floats(1e-4, 3.0),
)
def test_bounds_hold_wherever_the_next_point_is(seed: int, kind: str, ties: str, here: float, move: float) -> None:
    """Also where the likelihood falls. One region has it all, so that its values are as large as their bounds allow."""
    one = model(kind, 1, ties)
    rows = one.prepare(table(data(seed)))
    state = one.start()
    while not isinstance(state.phase, Newton):
        state = one.step(state, one.contribution(rows, state))
    likelihood = state.phase.likelihood
    random = np.random.default_rng(seed)

    def away(start: Float, length: float) -> Float:
        step = length * random.normal(size=len(start))
        return start + step / max(1.0, np.abs(step) @ likelihood.reach / likelihood.largest_change)

    accepted = away(likelihood.start(), here)
    trial = away(accepted, move)
    # At `accepted` bounds come from the start; then from there.
    points: list[tuple[Float, Float | None]] = [(likelihood.start(), None), (accepted, likelihood.start())]
    points.append((trial, accepted))
    evaluations: dict[bytes, Point] = {}
    for point, before in points:
        exponents = likelihood.exponents(point, None if before is None else evaluations[before.tobytes()])
        values = likelihood.contribution(rows, point, None)
        assert (np.abs(values) <= np.ldexp(1.0, exponents)).all()
        evaluations[point.tobytes()] = Point(point, likelihood.evaluation(point, values, exponents))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(KINDS), st.integers(0, 8), st.floats(0.0, 1.0))
def test_false_sums_end_in_a_result_or_a_clear_error(seed: int, kind: str, honest: int, share: float) -> None:
    """A region that lies can make any sum of the range that readers accept; no reader may fall over it."""
    one = model(kind, 2)
    rows = [one.prepare(table(region)) for region in split(data(seed % 50), (70, 50))]
    random, state = np.random.default_rng(seed), one.start()
    try:
        while not state.finished:
            total = np.sum([one.contribution(part, state) for part in rows], axis=0)
            if state.rounds >= honest:
                largest = 2 * np.ldexp(1.0, one.request(state).exponents.astype(np.int64))
                lie = random.uniform(-1, 1, len(total)) * largest
                total = np.clip(np.where(random.uniform(size=len(total)) < share, lie, total), -largest, largest)
            state = one.step(state, total)
    except StatisticsError:
        return
    assert state.result is not None
    assert np.isfinite([*state.result.estimate, *state.result.std_error]).all()


def test_outliers_do_not_make_a_region_refuse() -> None:
    """A full first step would leave fewer than five effective patients of a region, although the optimum does not."""
    for seed, kind in ((302, "per-region"), (675, "shared"), (1046, "shared"), (1230, "per-region")):
        one = Cox(("a", "b"), "t", "y", regions=3, noise_bits=75, baseline=kind)  # type: ignore[arg-type]
        assert fit(one, split(data(seed), (50, 40, 30))).finished


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_a_single_event_at_its_time_is_not_laid_open(ties: str) -> None:
    """Sums over those who have their event are asked for only where they are several, and only if ties need them."""
    columns = data(3)
    sums = Sums()
    fit(model("shared", 2, ties), split(columns, (70, 50)), sums)
    deaths = np.unique(columns["t"][columns["y"] == 1], return_counts=True)[1]
    assert (deaths == 1).any()
    tied = (deaths > 1).sum() if ties == "efron" else 0
    assert len(sums.requests[-1].exponents) == (1 + 2 + 3) * (len(deaths) + tied)


def test_a_state_follows_from_the_opened_sums_alone() -> None:
    """A node that starts again reads the opened sums back and stands where it stood."""
    one = model("per-region", 2)
    rows = [one.prepare(table(region)) for region in split(data(1), (70, 50))]
    state, totals = one.start(), []
    while not state.finished:
        totals.append(np.sum([one.contribution(part, state) for part in rows], axis=0))
        state = one.step(state, totals[-1])
    again: State = model("per-region", 2).start()
    for total in totals:
        again = one.step(again, total)
    assert again.decisions == state.decisions
    assert again.result == state.result
    assert again.rounds == len(totals)


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_sums_over_risk_sets_are_those_of_a_loop(seed: int, grid_size: int) -> None:
    """Also at times of the grid at which this region has no event, or no patient left, and in any blocks of rows."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 6, 12)).astype(float)
    grid = np.unique(random.integers(0, 9, grid_size)).astype(float)
    is_event = np.isin(times, grid) & (random.uniform(size=12) < 0.6)
    order = np.lexsort((~is_event, times))
    is_event = is_event[order]
    values = random.normal(size=12)
    sets = RiskSets(times, is_event, grid)
    sums = sets.no_sums((2,))
    cuts = [0, *np.unique(random.integers(1, 12, 3)).tolist(), 12]
    for start, stop in pairwise(cuts):
        sets.add(sums, np.array([values, 2.0 * values])[:, start:stop], slice(start, stop))
    for total, factor in ((sets.sums(values), 1.0), (sums[0], 1.0), (sums[1], 2.0)):
        at_risk = [factor * values[times >= t].sum() for t in grid]
        having_event = [factor * values[is_event & (times == t)].sum() for t in grid]
        assert sets.at_risk(total) == pytest.approx(at_risk)
        assert sets.having_event(total) == pytest.approx(having_event)
    assert sets.deaths.tolist() == [int((is_event & (times == t)).sum()) for t in grid]


@given(st.integers(0, 10**6), st.sampled_from(["efron", "breslow"]))
@settings(max_examples=30, deadline=None)
def test_expected_events_are_those_of_a_loop(seed: int, ties: Ties) -> None:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 6, 40)).astype(float)
    is_event = random.uniform(size=40) < 0.5
    order = np.lexsort((~is_event, times))
    is_event, weights = is_event[order], random.uniform(0.1, 2.0, 40)
    sets = RiskSets(times, is_event, np.unique(times[is_event]))
    loop = np.zeros(40)
    for t in np.unique(times[is_event]):
        at_risk, dying = times >= t, is_event & (times == t)
        deaths = int(dying.sum())
        for k in range(deaths):
            a = k / deaths if ties == "efron" else 0.0
            share = weights * (at_risk - a * dying)
            loop += share / share.sum()
    assert sets.expected_events(weights, ties)[1] == pytest.approx(loop)


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([0.0, 1.0, 1e6]))
@settings(max_examples=30, deadline=None)
def test_what_a_region_knows_of_its_columns_is_what_a_pass_over_them_finds(seed: int, rows: int, offset: float) -> None:
    random = np.random.default_rng(seed)
    columns = {"a": random.normal(offset, 1.0, rows), "b": np.full(rows, offset), "y": np.ones(rows)}
    limits = Limits(min_effective=1.0)
    prepared = Prepared(table(columns), ("a", "b"), rows, rows, None, limits)
    centre, scale = random.normal(offset, 2.0, 2), np.array([0.5, 3.0])
    both = np.array([columns["a"], columns["b"]])
    away = both - centre[:, None]
    assert prepared.reach(centre).tolist() == np.abs(away).max(axis=1).tolist()
    assert prepared.squares(centre) == pytest.approx(np.square(away).sum(axis=1), rel=1e-9)
    assert (prepared.squares(centre) <= rows * np.square(prepared.reach(centre))).all()
    for again in (centre, centre, centre + 1.0):
        design = np.concatenate(prepared.design(again, scale), axis=1)
        assert (design == (both - again[:, None]) / scale[:, None]).all()


def test_tie_terms_are_those_of_a_loop() -> None:
    risk, events, deaths = np.array([9.0, 5.0]), np.array([4.0, 1.5]), np.array([3, 1])
    efron, breslow = tie_terms(risk, events, deaths, "efron"), tie_terms(risk, events, deaths, "breslow")
    a = [0, 1 / 3, 2 / 3]
    denominators = [9 - 4 * part for part in a]
    assert efron.first == pytest.approx([sum(1 / d for d in denominators), 1 / 5])
    assert efron.first_a == pytest.approx([sum(x / d for x, d in zip(a, denominators, strict=True)), 0])
    assert efron.second == pytest.approx([sum(1 / d**2 for d in denominators), 1 / 25])
    assert efron.second_a == pytest.approx([sum(x / d**2 for x, d in zip(a, denominators, strict=True)), 0])
    assert efron.second_aa == pytest.approx([sum(x**2 / d**2 for x, d in zip(a, denominators, strict=True)), 0])
    assert efron.denominators == pytest.approx([*denominators, 5])
    assert efron.multiplicity.tolist() == [1, 1, 1, 1]
    assert breslow.first == pytest.approx([3 / 9, 1 / 5])
    assert breslow.second == pytest.approx([3 / 81, 1 / 25])
    assert breslow.denominators.tolist() == [9, 5]
    assert breslow.multiplicity.tolist() == [3, 1]
