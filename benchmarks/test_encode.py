"""What it costs to scale, round and check the range of a vector."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed


def test_encode(benchmark: BenchmarkFixture, case: Case) -> None:
    timed(benchmark, "encode", case, case.round.encode)
