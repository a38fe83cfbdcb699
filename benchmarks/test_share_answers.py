"""What a keyholder does for the answers and hashes that it owes: the one that answers most."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_PARTIES = True


def test_share_answers(benchmark: BenchmarkFixture, case: Case) -> None:
    sealed = timed(benchmark, "share answers", case, case.round.answer)
    assert len(sealed) > (case.parties - 1) * case.round.profile.packed_size(case.values)
