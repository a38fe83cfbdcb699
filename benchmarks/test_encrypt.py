"""What a contribution costs: encode, encrypt, serialise, hash; by both engines."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case, timed

BY_ENGINE = True


def test_encrypt(benchmark: BenchmarkFixture, case: Case) -> None:
    packed = timed(benchmark, "encrypt", case, lambda: case.round.encrypt(case.engine))
    assert len(packed) == case.round.profile.packed_size(case.values)
