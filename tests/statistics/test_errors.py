"""Every fit that cannot be made ends in one clear error, the same with exact and with noisy sums."""

import numpy as np
import pytest

from hefed.statistics import Cox, Limits, LocalError, Logistic, ModelError
from tests.statistics.driver import Sums, fit, split, table

N = 300
SIZES = (150, 90, 60)
NOISE = pytest.mark.parametrize("noise_bits", [None, 75, 30])


def columns(**more: np.ndarray) -> dict[str, np.ndarray]:
    """A harmless data set: y and t depend on a only a little."""
    random = np.random.default_rng(3)
    a, c = random.normal(size=(2, N))
    y = (random.uniform(size=N) < 1 / (1 + np.exp(-0.3 * a))).astype(float)
    return {"a": a, "c": c, "y": y, "t": np.ceil(100 * random.exponential(size=N)), **more}


def group(size: int) -> np.ndarray:
    """A 0/1 column with `size` ones, spread over the regions."""
    random = np.random.default_rng(4)
    values = np.zeros(N)
    values[random.permutation(N)[:size]] = 1
    return values


def logistic(covariates: tuple[str, ...], noise_bits: int | None = None, **options: object) -> Logistic:
    return Logistic(covariates, "y", regions=3, noise_bits=noise_bits or 75, **options)  # type: ignore[arg-type]


def cox(covariates: tuple[str, ...], noise_bits: int | None = None, **options: object) -> Cox:
    return Cox(covariates, "t", "y", regions=3, noise_bits=noise_bits or 75, **options)  # type: ignore[arg-type]


@NOISE
@pytest.mark.parametrize("value", [0.0, 0.1, 2010.3, -7e12])
def test_constant_column(value: float, noise_bits: int | None) -> None:
    data = columns(k=np.full(N, value))
    with pytest.raises(ModelError, match="column 'k' is constant over all regions"):
        fit(logistic(("a", "k"), noise_bits), split(data, SIZES), Sums(noise_bits))


@NOISE
def test_column_that_varies_a_little_around_a_large_value_is_not_constant(noise_bits: int | None) -> None:
    data = columns(k=2010.0 + 0.001 * np.random.default_rng(5).normal(size=N))
    result = fit(logistic(("a", "k"), noise_bits), split(data, SIZES), Sums(noise_bits)).result
    assert result is not None
    shifted = {**data, "k": data["k"] - 2010.0}
    expected = fit(logistic(("a", "k")), split(shifted, SIZES)).result
    assert expected is not None
    assert result.estimate[2] == pytest.approx(expected.estimate[2], abs=1e-6 * expected.std_error[2])


@NOISE
def test_collinear_columns_are_named(noise_bits: int | None) -> None:
    data = columns()
    data["b"] = 2 * data["a"] - 3 * data["c"] + 5
    data["d"] = np.random.default_rng(6).normal(size=N)
    for model in (logistic(("a", "d", "c", "b"), noise_bits), cox(("a", "d", "c", "b"), noise_bits)):
        with pytest.raises(ModelError, match=r"column 'b' is collinear: .* from columns 'a', 'c':"):
            fit(model, split(data, SIZES), Sums(noise_bits))


def test_dummies_of_all_categories_are_collinear() -> None:
    category = np.random.default_rng(6).integers(0, 3, N)
    data = columns(**{f"d{k}": (category == k).astype(float) for k in range(3)})
    with pytest.raises(ModelError, match=r"column 'd2' is collinear: .* from columns 'd0', 'd1':"):
        fit(logistic(("d0", "d1", "d2")), split(data, SIZES))


@NOISE
def test_column_that_is_constant_within_every_region(noise_bits: int | None) -> None:
    data = columns(r=np.repeat([0.0, 1.0, 5.0], SIZES))
    with pytest.raises(ModelError, match=r"column 'r' does not vary .* constant within every region"):
        fit(cox(("a", "r"), noise_bits), split(data, SIZES), Sums(noise_bits))
    if noise_bits != 30:
        assert fit(cox(("a", "r"), noise_bits, baseline="shared"), split(data, SIZES), Sums(noise_bits)).finished


@NOISE
def test_complete_separation(noise_bits: int | None) -> None:
    data = columns()
    data["y"] = (data["a"] > 0.1).astype(float)
    with pytest.raises(ModelError, match="no finite estimate: the coefficient of column 'a' keeps growing"):
        fit(logistic(("a", "c"), noise_bits), split(data, SIZES), Sums(noise_bits))
    assert fit(logistic(("a", "c"), noise_bits, ridge=1.0), split(data, SIZES), Sums(noise_bits)).finished


@NOISE
@pytest.mark.parametrize("exposed", [1, 10, 100])
def test_quasi_separation(exposed: int, noise_bits: int | None) -> None:
    """All patients of a group have the outcome, others have either."""
    data = columns(g=group(exposed))
    data["y"] = np.maximum(data["y"], data["g"])
    with pytest.raises(ModelError, match="no finite estimate: the coefficient of column 'g' keeps growing"):
        fit(logistic(("a", "g"), noise_bits), split(data, SIZES), Sums(noise_bits))
    assert fit(logistic(("a", "g"), noise_bits, ridge=1.0), split(data, SIZES), Sums(noise_bits)).finished


@pytest.mark.parametrize(
    ("baseline", "noise_bits"),
    [("per-region", None), ("per-region", 75), ("per-region", 30), ("shared", None), ("shared", 75)],
)
def test_monotone_partial_likelihood(baseline: str, noise_bits: int | None) -> None:
    """No patient of a group has an event."""
    data = columns(g=group(50))
    data["y"] = data["y"] * (1 - data["g"])
    with pytest.raises(ModelError, match="no finite estimate: the coefficient of column 'g' keeps growing"):
        fit(cox(("g", "a"), noise_bits, baseline=baseline), split(data, SIZES), Sums(noise_bits))
    ridge = cox(("g", "a"), noise_bits, baseline=baseline, ridge=1.0)
    assert fit(ridge, split(data, SIZES), Sums(noise_bits)).finished


def test_covariate_that_orders_the_events_perfectly() -> None:
    data = columns()
    data["t"] = np.argsort(np.argsort(-data["a"])) + 1.0
    data["y"] = np.ones(N)
    with pytest.raises(ModelError, match="no finite estimate: the coefficient of column 'a' keeps growing"):
        fit(cox(("a", "c")), split(data, SIZES))


@pytest.mark.parametrize("events", [0, 1])
def test_too_few_events(events: int) -> None:
    y = np.zeros(N)
    y[:events] = 1
    for model in (logistic(("a", "c")), cox(("a", "c"))):
        with pytest.raises(ModelError, match=f"too few events: {events} of 300 patients of all regions have 'y' = 1"):
            fit(model, split(columns(y=y), SIZES))


def test_too_few_patients_without_event_matter_to_a_logistic_fit_only() -> None:
    data = columns(y=np.ones(N))
    with pytest.raises(ModelError, match="0 of 300 patients of all regions have 'y' = 0"):
        fit(logistic(("a", "c")), split(data, SIZES))
    assert fit(cox(("a", "c")), split(data, SIZES)).finished


def test_no_convergence_within_the_rounds_allowed() -> None:
    with pytest.raises(ModelError, match=r"no convergence in 2 Newton rounds \(limit rounds\)"):
        fit(logistic(("a", "c"), limits=Limits(rounds=2)), split(columns(), SIZES))


def test_steps_stay_within_their_limit() -> None:
    """A tighter limit takes more rounds to the same answer."""
    data = columns()
    free, bounded = (fit(cox(("a", "c"), limits=Limits(step=step)), split(data, SIZES)).result for step in (2.0, 0.01))
    assert free is not None
    assert bounded is not None
    assert bounded.iterations > free.iterations
    assert bounded.estimate == pytest.approx(free.estimate, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None}, "column 'a' is missing"),
        ({"a": np.r_[np.nan, np.zeros(59)]}, "column 'a' has missing or infinite values"),
        ({"a": np.zeros(59)}, "column 'a' does not have one value for each of the 60 rows"),
        ({"y": np.r_[2.0, np.zeros(59)]}, "column 'y' has values other than 0 and 1"),
        ({"t": np.r_[-1.0, np.ones(59)]}, "column 't' has negative times"),
    ],
)
def test_a_region_refuses_a_table_that_is_not_as_asked(change: dict[str, np.ndarray | None], message: str) -> None:
    region = {"t": np.ones(60), **split(columns(), SIZES)[2]}
    for name, values in change.items():
        if values is None:
            del region[name]
        else:
            region[name] = values
    with pytest.raises(LocalError, match=message):
        cox(("a", "c")).prepare(table(region))


def test_a_region_refuses_with_fewer_rows_than_it_allows() -> None:
    region = {name: values[:4] for name, values in columns().items()}
    with pytest.raises(LocalError, match=r"fewer than the 5 rows .* \(limit min_effective\)"):
        logistic(("a", "c")).prepare(table(region))


def test_a_region_refuses_columns_beyond_any_unit() -> None:
    data = columns()
    data["a"] = data["a"] * 1e20
    with pytest.raises(LocalError, match="column 'a' has values beyond 2\\^63"):
        fit(logistic(("a", "c")), split(data, SIZES))


def test_a_region_refuses_extreme_linear_predictors() -> None:
    with pytest.raises(LocalError, match=r"a linear predictor of this region exceeds 0\.1"):
        fit(logistic(("a", "c"), limits=Limits(linear_predictor=0.1)), split(columns(), SIZES))


def test_a_region_refuses_when_its_patients_hardly_count() -> None:
    """All of a region's patients but three have an outcome that is as good as certain."""
    random = np.random.default_rng(8)
    common = random.normal(size=400)
    rare = np.r_[np.full(57, 12.0), 0.0, 0.1, -0.1]
    outcome = random.uniform(size=460) < 1 / (1 + np.exp(-2.0 * np.r_[common, rare]))
    data = {"a": np.r_[common, rare], "y": outcome.astype(float)}
    for model, accepted in (
        (logistic(("a",)), False),
        (logistic(("a",), limits=Limits(min_effective=1.0)), True),
    ):
        if accepted:
            assert fit(model, split(data, (200, 200, 60))).finished
        else:
            with pytest.raises(LocalError, match=r"fewer than 5 patients .* \(limit min_effective\)"):
                fit(model, split(data, (200, 200, 60)))


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (np.random.default_rng(1).exponential(size=N), LocalError, "more than 6 decimals"),
        (np.ceil(1e6 * np.random.default_rng(1).exponential(size=N)), ModelError, "would need .* cells"),
        (np.full(N, 1e12), LocalError, "event times beyond 2\\^32"),
    ],
)
def test_shared_baseline_needs_times_on_a_short_decimal_grid(
    times: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(cox(("a", "c"), baseline="shared"), split(columns(t=times), SIZES))


def test_opened_sums_that_contradict_each_other_are_errors() -> None:
    model = logistic(("a", "c"))
    state = model.start()
    values = len(model.request(state).exponents)
    for bad, message in (
        (np.zeros(values), "not one for each region"),
        (np.full(values, 0.5), "no counts"),
        (np.full(values, np.nan), "does not belong"),
        (np.zeros(values - 1), "does not belong"),
    ):
        with pytest.raises(ModelError, match=message):
            model.step(state, bad)


def test_sums_of_squares_that_contradict_the_votes_are_an_error() -> None:
    model = logistic(("a", "c"))
    rows = [model.prepare(table(region)) for region in split(columns(), SIZES)]
    state = model.start()
    while model.request(state).purpose != "variances":
        state = model.step(state, np.sum([model.contribution(part, state) for part in rows], axis=0))
    with pytest.raises(ModelError, match="sums of squares contradict the votes"):
        model.step(state, np.array([0.1, 300.0]))


def test_a_region_refuses_bounds_that_its_values_contradict() -> None:
    """Another region voted for smaller columns in the name of all: the honest one does not encrypt."""
    model = logistic(("a", "c"))
    rows = model.prepare(table(split(columns(), SIZES)[0]))
    small = model.prepare(table({name: values[:8] * 0.01 for name, values in columns(y=np.ones(N) * 100).items()}))
    state = model.start()
    state = model.step(state, 3 * model.contribution(small, state))
    with pytest.raises(LocalError, match="cannot be the sums of honest contributions"):
        model.contribution(rows, state)


@pytest.mark.parametrize(
    "options",
    [
        {"covariates": ()},
        {"covariates": ("a", "a")},
        {"covariates": ("a",), "ridge": -1.0},
        {"covariates": ("a",), "noise_bits": 20},
        {"covariates": ("a",), "ties": "exact"},
        {"covariates": ("a",), "baseline": "none"},
        {"covariates": ("a",), "baseline": "shared", "noise_bits": 33},
        {"covariates": ("a",), "regions": 0},
    ],
)
def test_specifications_outside_their_ranges_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|must|ridge"):
        Cox(**{"duration": "t", "event": "y", "regions": 3, "noise_bits": 75, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"rounds": 0}, {"step": -1.0}, {"linear_predictor": 1000.0}, {"min_effective": 0.5}, {"step": np.inf}]
)
def test_limits_outside_their_ranges_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limits(**options)  # type: ignore[arg-type]
