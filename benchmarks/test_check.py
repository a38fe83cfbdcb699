"""What the check of a sum costs: a contributor'\''s check value, and a reader'\''s comparison."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed


def test_check_value(benchmark: BenchmarkFixture, case: Case) -> None:
    assert timed(benchmark, "check value", case, case.round.own_check) == case.round.checks[0]


def test_verify(benchmark: BenchmarkFixture, case: Case) -> None:
    timed(benchmark, "verify the sum", case, case.round.verify)
