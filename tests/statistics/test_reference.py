"""Federated fits equal what R says about the pooled rows: estimates within 1e-6 standard errors, standard errors within
1e-6 relative, log-likelihoods within 1e-8 relative; with exact sums, and with the noise of either profile."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hefed.statistics import Cox, FitResult, Logistic, Model
from tests.statistics.driver import EXAMPLES, Sums, example, fit, split

PRECISE, COMPACT = 75, 30
CASES = json.loads((Path(__file__).parent / "reference" / "cases.json").read_text())
CASE_NAMES = [name for name in CASES if name != "tool"]
EXAMPLE_FITS = {
    "heart-failure-cox": ("heart-failure", "DEATH_EVENT"),
    "heart-failure-logistic": ("heart-failure", "DEATH_EVENT"),
    "heart-disease-logistic": ("heart-disease", "disease"),
}


@dataclass
class Answer:
    """What R found."""

    estimate: list[float]
    std_error: list[float]
    log_likelihood: float | None
    log_likelihood_null: float | None


@dataclass
class Problem:
    """A fit, and what R found."""

    name: str
    kind: str
    covariates: tuple[str, ...]
    outcome: str
    regions: list[dict[str, np.ndarray]]
    answer: Answer
    ties: str = "efron"
    baseline: str = "per-region"
    ridge: float = 0.0

    def model(self, noise_bits: int) -> Model[Any]:
        shared: dict[str, Any] = {"regions": len(self.regions), "noise_bits": noise_bits, "ridge": self.ridge}
        if self.kind == "logistic":
            return Logistic(self.covariates, self.outcome, **shared)
        return Cox(self.covariates, "time", self.outcome, ties=self.ties, baseline=self.baseline, **shared)


def problems() -> list[Problem]:
    """Every fit that R was asked for."""
    found = []
    for name, (folder, outcome) in EXAMPLE_FITS.items():
        reference = json.loads((EXAMPLES / "reference" / f"{name}.json").read_text())
        covariates = tuple(reference["covariates"])
        names = [*covariates, outcome] + ["time"] * (reference["kind"] == "cox")
        regions = example(folder, reference["sites"], names)
        for one in reference["fits"]:
            estimate = one["coef_with_intercept_first" if reference["kind"] == "logistic" else "coef"]
            answer = Answer(estimate, one["se"], one["loglik"], one["loglik_null"])
            baseline = "per-region" if one.get("stratified_by_site", True) else "shared"
            ties = one.get("ties", "efron")
            title = f"{name}-{ties}-{baseline}"
            found.append(
                Problem(title, reference["kind"], covariates, outcome, regions, answer, ties=ties, baseline=baseline)
            )
    for name in CASE_NAMES:
        case = CASES[name]
        columns = {column: np.array(values) for column, values in case["columns"].items()}
        regions = split(columns, case["sizes"])
        for one in case["fits"]:
            answer = Answer(
                one["estimate"], one["std_error"], one.get("log_likelihood"), one.get("log_likelihood_null")
            )
            baseline = "per-region" if one.get("stratified", True) else "shared"
            ties = one.get("ties", "efron")
            title = f"{name}-{one['kind']}-{ties}-{baseline}-{one['ridge']:g}"
            covariates = tuple(case["covariates"])
            found.append(
                Problem(title, one["kind"], covariates, "event", regions, answer, ties, baseline, one["ridge"])
            )
    return found


def check(result: FitResult | None, answer: Answer) -> None:
    assert result is not None
    assert result.converged
    error = np.array(answer.std_error)
    assert np.max(np.abs(np.array(result.estimate) - answer.estimate) / error) < 1e-6
    assert np.max(np.abs(np.array(result.std_error) / error - 1)) < 1e-6
    if answer.log_likelihood is not None:
        assert result.log_likelihood == pytest.approx(answer.log_likelihood, rel=1e-8)
        assert result.log_likelihood_null == pytest.approx(answer.log_likelihood_null, rel=1e-8)


@pytest.mark.parametrize("problem", problems(), ids=lambda problem: problem.name)
@pytest.mark.parametrize("noise_bits", [None, PRECISE, COMPACT])
def test_federated_fit_equals_pooled_fit_in_r(problem: Problem, noise_bits: int | None) -> None:
    if noise_bits == COMPACT and problem.baseline == "shared":
        with pytest.raises(ValueError, match="shared baseline"):
            problem.model(COMPACT)
        return
    state = fit(problem.model(noise_bits or PRECISE), problem.regions, Sums(noise_bits))
    check(state.result, problem.answer)
    assert state.result is not None
    rows = [len(region[problem.outcome]) for region in problem.regions]
    assert state.result.n == sum(rows)
    assert state.result.events == sum(int(region[problem.outcome].sum()) for region in problem.regions)


def test_null_likelihood_of_one_region_is_that_of_shared_baseline() -> None:
    """With a single region both baselines are the same model."""
    stratified, shared = (
        fit(problem.model(PRECISE), problem.regions).result
        for problem in problems()
        if problem.name in ("single_region-cox-efron-per-region-0", "single_region-cox-efron-shared-0")
    )
    assert stratified is not None
    assert shared is not None
    assert shared.estimate == pytest.approx(stratified.estimate, rel=1e-10)
    assert shared.log_likelihood_null == pytest.approx(stratified.log_likelihood_null, rel=1e-12)


def test_result_is_reported_as_wald_statistics() -> None:
    result = FitResult(("x",), (0.5,), (0.2,), -10.0, -12.0, 3, True, 100, 40)
    assert result.z == pytest.approx((2.5,))
    assert result.p_value == pytest.approx((0.012419330651552318,), rel=1e-12)
    assert result.ci_lower == pytest.approx((0.5 - 1.959963984540054 * 0.2,), rel=1e-12)
    assert result.ci_upper == pytest.approx((0.5 + 1.959963984540054 * 0.2,), rel=1e-12)
