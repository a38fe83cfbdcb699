"""What opening costs a reader: with answers in the clear, and with seals, cross-check and check of the sum."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_PARTIES = True


def test_open_and_decode(benchmark: BenchmarkFixture, case: Case) -> None:
    case.round.plain_answers  # noqa: B018  made before
    case.round.require_right(timed(benchmark, "open and decode", case, case.round.open))


def test_read(benchmark: BenchmarkFixture, case: Case) -> None:
    case.round.require_right(timed(benchmark, "read", case, case.round.read))
