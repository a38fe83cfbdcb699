"""How Newton's method goes on from opened sums, without any table."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from hefed.statistics import Limits, Logistic, ModelError
from hefed.statistics.arithmetic import Float, Int, frozen
from hefed.statistics.columns import Scales
from hefed.statistics.likelihood import Evaluation, Likelihood, Point
from hefed.statistics.model import Prepared, Specification
from hefed.statistics.newton import MAXIMUM_HALVINGS, Newton
from hefed.statistics.result import FitResult
from tests.statistics.driver import fit, split
from tests.statistics.independent import logistic_fit


@dataclass(frozen=True, eq=False)
class OneCoefficient(Likelihood[Prepared]):
    """A log-likelihood of one coefficient, whose "opened sums" are its value and first two derivatives."""

    scales: Scales
    begin: float
    noise: float = 0.0
    has_intercept: ClassVar[bool] = False
    reason_without_information: ClassVar[str] = "carries no information"

    @property
    def names(self) -> tuple[str, ...]:
        return ("x",)

    @property
    def typical_information(self) -> float:
        return 1.0

    def start(self) -> Float:
        return frozen([self.begin])

    def null_log_likelihood(self, first: Evaluation) -> float:
        return first.log_likelihood

    def exponents(self, trial: Float, accepted: Point | None) -> Int:
        return np.zeros(3, dtype=np.int64)

    def contribution(self, rows: Prepared, trial: Float, limits: Limits | None) -> Float:
        raise NotImplementedError("these tests open sums themselves")

    def evaluation(self, trial: Float, total: Float, exponents: Int) -> Evaluation:
        information, noise = frozen(total[2:].reshape(1, 1)), frozen([self.noise])
        return Evaluation(float(total[0]), frozen(total[1:2]), information, 0.0, noise, frozen([0.0]))


def begin(at: float, limits: Limits, noise: float = 0.0) -> Newton[Prepared]:
    one = frozen([1.0])
    likelihood = OneCoefficient(Scales(100, 50, frozen([0.0]), one, one, one), at, noise)
    return Newton(likelihood, Specification(("x",), 1, 75, 0.0, limits), likelihood.start())


def hyperbola(b: float) -> Float:
    """-sqrt(1 + b^2): full Newton steps go from b to -b^3."""
    root = math.sqrt(1.0 + b * b)
    return np.array([-root, -b / root, root**-3])


def test_overshooting_steps_are_halved_until_the_likelihood_rises() -> None:
    """From 1.5 a full step goes to -3.375, half of it to -0.9375, from where full steps converge."""
    phase, decisions, points = begin(1.5, Limits(step=20.0)), [], []
    while not isinstance(phase, FitResult):
        points.append(float(phase.trial[0]))
        phase, decision = phase.step(hyperbola(points[-1]))  # type: ignore[assignment]
        decisions.append(decision)
    assert points[:3] == pytest.approx([1.5, -3.375, -0.9375])
    assert [decision.endswith("halved") for decision in decisions[:4]] == [False, True, False, False]
    assert phase.estimate == pytest.approx([0.0], abs=1e-12)
    assert phase.std_error == pytest.approx([1.0])
    assert phase.iterations == len(points) - 2  # without the start and the halved one


def test_steps_are_cut_to_their_limit() -> None:
    phase, _ = begin(1.5, Limits(step=0.25)).step(hyperbola(1.5))
    assert isinstance(phase, Newton)
    assert phase.trial == pytest.approx([1.25])


def test_steps_within_their_noise_are_taken_while_they_shrink() -> None:
    """The bound on the noise is wide: the true error is mostly far smaller."""
    phase, noise = begin(0.5, Limits(), noise=1e-3), 1e-3
    gradients = [0.5, 0.9 * noise, 0.1 * noise, 0.09 * noise]
    for gradient in gradients[:-1]:
        following, _ = phase.step(np.array([0.0, -gradient, 1.0]))
        assert isinstance(following, Newton)
        phase = following
    result, _ = phase.step(np.array([0.0, -gradients[-1], 1.0]))
    assert isinstance(result, FitResult)


def test_halving_ends() -> None:
    """The opened likelihood falls wherever one goes."""
    phase, _ = begin(1.5, Limits()).step(hyperbola(1.5))
    worse = np.array([-100.0, 1.0, 1.0])
    for _ in range(MAXIMUM_HALVINGS):
        phase, decision = phase.step(worse)  # type: ignore[union-attr]
        assert decision.endswith("halved")
    with pytest.raises(ModelError, match=f"the likelihood falls even after {MAXIMUM_HALVINGS} halvings"):
        phase.step(worse)  # type: ignore[union-attr]


def test_a_logistic_fit_that_overshoots_comes_to_the_right_end() -> None:
    random = np.random.default_rng(154)
    a, c = np.round(random.standard_t(2, size=150), 2), np.round(random.normal(size=150), 2)
    y = (random.uniform(size=150) < 1 / (1 + np.exp(4 - np.clip(a, -3, 3)))).astype(float)
    columns = {"a": a, "c": c, "y": y}
    limits = Limits(step=20.0, min_effective=1.0)
    state = fit(Logistic(("a", "c"), "y", regions=2, noise_bits=75, limits=limits), split(columns, (90, 60)))
    assert sum(decision.endswith("halved") for decision in state.decisions) == 1
    estimate, std_error = logistic_fit(columns, ("a", "c"), "y", 0.0)
    assert state.result is not None
    assert np.max(np.abs(state.result.estimate - estimate) / std_error) < 1e-6
