"""What the sum of all contributions costs the aggregator; by both engines."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_PARTIES = BY_ENGINE = True


def test_aggregate(benchmark: BenchmarkFixture, case: Case) -> None:
    assert timed(benchmark, "aggregate", case, lambda: case.round.aggregate(case.engine)) == case.round.total
