"""What it costs to deal a key, once a study, and to take what everybody dealt."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_PARTIES = True


def test_deal(benchmark: BenchmarkFixture, case: Case) -> None:
    assert timed(benchmark, "deal", case, case.round.deal).keyholders == case.parties


def test_take_deals(benchmark: BenchmarkFixture, case: Case) -> None:
    shares = timed(benchmark, "take deals", case, case.round.take_deals)
    assert len(shares.subsets) == case.parties - 1
