"""What opening costs a reader: adding up and decoding alone, and with seals, cross-check and check of the sum."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_PARTIES = True


def test_open_and_decode(benchmark: BenchmarkFixture, case: Case) -> None:
    one = case.round
    answers = one.unseal()
    opened = timed(benchmark, "open and decode", case, lambda: one.open(answers).decode(one.label, one.precision))
    one.require_right(opened)


def test_read(benchmark: BenchmarkFixture, case: Case) -> None:
    case.round.require_right(timed(benchmark, "read", case, case.round.read))
