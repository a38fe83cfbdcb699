"""What a whole Cox and a whole logistic fit take, from keys dealt until the study has ended."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.fits import encrypted_fit
from benchmarks.made_up import Patients


@pytest.mark.parametrize("kind", ["cox", "logistic"])
def test_fit(benchmark: BenchmarkFixture, full: bool, kind: str, tmp_path: Path) -> None:
    rows = 100_000 if full else 3_000
    Patients.make(rows).write_regions(tmp_path)
    fitted = benchmark.pedantic(encrypted_fit, (kind, tmp_path), rounds=1)
    benchmark.extra_info |= {"step": f"{kind} fit", "seconds": fitted.seconds, "profile": "compact", "values": rows}
    benchmark.extra_info |= {"parties": 3, "engine": "vectorised", "bytes": None, "rounds": fitted.rounds}
    assert fitted.rounds > 3
