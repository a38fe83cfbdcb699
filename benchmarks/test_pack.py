"""What it costs to write residues in the exact number of bits."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed


def test_pack(benchmark: BenchmarkFixture, case: Case) -> None:
    assert timed(benchmark, "pack", case, case.round.pack) == case.round.contributions[0]
