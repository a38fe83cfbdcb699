"""What round 0 costs a region: 64 values that everybody can compute, encrypted."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed


def test_known_answer(benchmark: BenchmarkFixture, case: Case) -> None:
    assert timed(benchmark, "known answer", case, case.round.known_answer)
