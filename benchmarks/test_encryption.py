"""What each step of an encrypted round costs: `make bench`. Times are for comparison within one run only."""

import os

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hefed.crypto.contribution import Engine, RunningSum, check_value, encrypt
from hefed.crypto.keys import ContributorKey, ShareKeys, open_seeds, subsets
from hefed.crypto.label import Label
from hefed.crypto.opening import answer, open_sum
from hefed.crypto.parameters import COMPACT, PRECISE, Precision, Profile

NAMES, THRESHOLD = ("a", "b", "c"), 2
SIZES = (231, 100_000)


class Round:
    """Three contributors and keyholders, one vector each."""

    def __init__(self, profile: Profile, values: int) -> None:
        study, cohort = os.urandom(32), os.urandom(32)
        self.precision = Precision(profile, len(NAMES), THRESHOLD, len(NAMES))
        exponents = np.zeros(values, np.int16)
        self.label = Label("benchmark", study, cohort, 1, "sum", profile, len(NAMES), exponents, bytes(32))
        self.keys = [ContributorKey.deal(study, name, len(NAMES), THRESHOLD) for name in NAMES]
        self.values = np.random.default_rng(1).uniform(-1, 1, (len(NAMES), values))
        self.shares = [
            ShareKeys.combine(
                profile,
                study,
                cohort,
                {
                    key.dealer: open_seeds(
                        study, key.dealer, j, 3, THRESHOLD, key.seeds_for(j), list(key.seed_hashes().values())
                    )
                    for key in self.keys
                },
            )
            for j in range(len(NAMES))
        ]

    def contributions(self) -> list[bytes]:
        return [encrypt(self.precision, key, self.label, v) for key, v in zip(self.keys, self.values, strict=True)]

    def total(self, contributions: list[bytes]) -> bytes:
        total = RunningSum(self.label.profile, self.label)
        for contribution in contributions:
            total.add(contribution)
        return total.packed()

    def answers(self) -> dict[tuple[int, ...], bytes]:
        return {
            subset: answer(self.precision, self.shares[1 if 0 in subset else 0], subset, self.label)
            for subset in subsets(len(NAMES), THRESHOLD)
        }


@pytest.fixture(params=[(p, n) for p in (COMPACT, PRECISE) for n in SIZES], ids=lambda c: f"{c[0].name}-{c[1]}")
def round_(request: pytest.FixtureRequest) -> Round:
    return Round(*request.param)


@pytest.mark.parametrize("engine", ["vectorised", "tenseal"])
def test_encrypt(benchmark: BenchmarkFixture, round_: Round, engine: Engine) -> None:
    packed = benchmark(lambda: encrypt(round_.precision, round_.keys[0], round_.label, round_.values[0], engine))
    assert len(packed) == round_.label.profile.packed_size(round_.label.values)


def test_add_three_contributions(benchmark: BenchmarkFixture, round_: Round) -> None:
    contributions = round_.contributions()
    assert benchmark(lambda: round_.total(contributions)) != contributions[0]


def test_check_value(benchmark: BenchmarkFixture, round_: Round) -> None:
    contribution = round_.contributions()[0]
    value = benchmark(lambda: check_value(round_.label.profile, contribution, round_.label.values, bytes(32)))
    assert any(value)


def test_one_share_answer(benchmark: BenchmarkFixture, round_: Round) -> None:
    share = round_.shares[0].subsets[0]
    assert benchmark(lambda: answer(round_.precision, round_.shares[0], share, round_.label))


def test_open_and_decode(benchmark: BenchmarkFixture, round_: Round) -> None:
    total, answers = round_.total(round_.contributions()), round_.answers()
    opened = benchmark(
        lambda: open_sum(round_.precision, round_.label, total, answers).decode(round_.label, round_.precision)
    )
    np.testing.assert_allclose(opened, round_.values.sum(axis=0), atol=round_.precision.error(0))
