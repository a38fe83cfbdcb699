"""What a round takes over ZeroMQ between processes with their databases on disk, encrypted and in the clear."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import round231
from hefed.crypto.contribution import ENGINES, Engine


@pytest.mark.parametrize("engine", ENGINES)
def test_encrypted(benchmark: BenchmarkFixture, full: bool, engine: Engine) -> None:
    """Timed is the whole study; the seconds of a round are noted."""
    measured = benchmark.pedantic(round231.encrypted, (20 if full else 4, engine), rounds=1)
    benchmark.extra_info |= {"step": "round over ZeroMQ", "seconds": measured.median, "profile": "precise"}
    benchmark.extra_info |= {"values": round231.VALUES, "parties": round231.REGIONS, "engine": engine, "bytes": None}


def test_plain(benchmark: BenchmarkFixture, full: bool) -> None:
    measured = benchmark.pedantic(round231.plain, (20 if full else 4,), rounds=1)
    benchmark.extra_info |= {"step": "round over ZeroMQ in the clear", "seconds": measured.median, "profile": None}
    benchmark.extra_info |= {"values": round231.VALUES, "parties": round231.REGIONS, "engine": None, "bytes": None}
