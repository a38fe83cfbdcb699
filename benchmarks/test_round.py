"""What the parts of a round cost one after another: a contributor, the aggregator, a keyholder, a reader."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_PARTIES = BY_ENGINE = True


def test_round(benchmark: BenchmarkFixture, case: Case) -> None:
    one = case.round

    def whole() -> object:
        one.encrypt(case.engine)
        one.own_check()
        one.aggregate(case.engine)
        one.answer()
        return one.read()

    timed(benchmark, "round", case, whole)
