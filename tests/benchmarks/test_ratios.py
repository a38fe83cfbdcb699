"""What `make ratios` computes from what it measures, and that the page of figures is the one that the results make."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fits, limits, memory, performance, ratios, round231
from benchmarks.made_up import COVARIATES, LAST_DAY, REGIONS, Patients, study
from benchmarks.rounds import Round
from benchmarks.worker import ROOT, Absent, Worker, interleaved
from hefed.crypto.parameters import COMPACT, PRECISE
from hefed.study import Study

DETAILS = {
    "encryption": {
        "values": 1000,
        "systems": {
            "hefed": {
                "encrypt": {"seconds": 0.01, "bytes": 6000},
                "open": {"seconds": 0.02},
                "encrypt-tenseal": {"seconds": 0.1},
            },
            "tenseal_flare": {"encrypt": {"seconds": 0.6}, "open": {"seconds": 0.1}},
            "openfhe": {"encrypt": {"seconds": 0.7}, "open": {"seconds": 0.5}},
        },
    },
    "growth": {"100000": {"seconds": 0.01}, "10000000": {"seconds": 1.2}},
    "peaks": {"megabytes": {"contributor": 99.0, "reader": 150.0}},
    "small_round": {"medians": {"tenseal": [0.03, 0.02], "vectorised": [0.001], "plain": [0.005, 0.004]}},
    "cox_large": {"hefed": {"seconds": 2.0}, "peers": {"lifelines": {"seconds": 5.0}, "r": {"absent": "no R"}}},
}


def test_a_speed_ratio_above_one_means_that_hefed_is_faster() -> None:
    found = ratios.ratios(DETAILS)
    assert found["encrypt_vs_tenseal_flare"] == 60
    assert found["encrypt_vs_openfhe"] == 70
    assert found["open_vs_openfhe"] == 25
    assert found["engine_vectorised_vs_tenseal"] == 10
    assert found["bytes_per_value"] == 6
    assert found["time_growth_1e5_1e7"] == 1.2
    assert found["peak_mb_above_vector_1e7"] == 150
    assert found["cox_1m_vs_lifelines"] == 2.5


def test_a_round_of_precise_is_compared_with_the_engine_that_it_uses() -> None:
    assert ratios.ratios(DETAILS)["round_231_vs_plain"] == 5


def test_what_is_absent_is_null_and_neither_reached_nor_missed() -> None:
    found = ratios.ratios(DETAILS)
    assert found["encrypt_vs_desilofhe"] is None
    assert found["cox_1m_vs_r"] is None
    assert ratios.is_met("cox_1m_vs_r", None) is None
    assert set(ratios.ratios({}).values()) == {None}
    assert "| `cox_1m_vs_r` |  | above 1 | not measured |" in ratios.table(found)


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("encrypt_vs_openfhe", 50, True),
        ("encrypt_vs_openfhe", 49.9, False),
        ("bytes_per_value", 6.1, True),
        ("bytes_per_value", 6.2, False),
        ("cox_1m_vs_r", 1, False),
        ("cox_1m_vs_r", 1.01, True),
    ],
)
def test_bounds_hold_or_do_not(name: str, value: float, met: bool) -> None:
    assert ratios.is_met(name, value) is met


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make ratios` makes, of small sizes."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks.ratios", "--quick", "--out", folder]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    return folder


def test_every_ratio_is_measured_or_its_peer_is_absent(results: Path) -> None:
    found = json.loads((results / "ratios.json").read_text())
    assert {name for name, value in found.items() if value is None} <= {
        name for name in found if name.endswith(("_openfhe", "_desilofhe", "_lifelines", "_vs_r", "_sklearn", "_flare"))
    }
    assert found["bytes_per_value"] == pytest.approx(6, abs=0.1)
    assert ratios.table(ratios.ratios(ratios.read(results))) == (results / "ratios.md").read_text()


def test_the_page_of_figures_says_what_was_measured(results: Path) -> None:
    page = performance.made_from(results)
    for name in json.loads((results / "ratios.json").read_text()):
        assert f"`{name}`" in page, name
    # Run `make performance` after a change of either.
    assert performance.PAGE.exists() == ratios.RESULTS.exists()
    assert not performance.PAGE.exists() or performance.PAGE.read_text() == performance.made_from(ratios.RESULTS)


def test_figures_have_three_digits() -> None:
    assert [performance.number(x) for x in (0.012345, 1.5, 12.345, 1234.5, 0)] == [
        "0.0123",
        "1.5",
        "12.3",
        "1,230",
        "0",
    ]


# --- Workers


def _script(folder: Path, text: str) -> Worker:
    path = folder / "script.py"
    path.write_text(text)
    return Worker(sys.executable, str(path))


def test_of_every_job_the_least_time_counts(tmp_path: Path) -> None:
    text = (
        'import sys\nprint(\'{"ready": "a script"}\', flush=True)\n'
        "for i, line in enumerate(sys.stdin):\n"
        '    print(\'{"seconds": %d, "job": "%s"}\' % (abs(2 - i) + 1, line.strip()), flush=True)\n'
    )
    worker = _script(tmp_path, text)
    try:
        best = interleaved({"it": worker}, ("a", "b"), 2)
    finally:
        worker.close()
    assert best["it"]["a"] == {"seconds": 1, "job": "a"}
    assert best["it"]["b"] == {"seconds": 2, "job": "b"}


def test_a_peer_that_cannot_start_is_absent_in_words(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="No module named 'not_there'"):
        _script(tmp_path, "import not_there")
    with pytest.raises(Absent, match="No such file"):
        Worker(str(tmp_path / "nothing"))


# --- What is measured is right


@pytest.mark.parametrize(("profile", "parties"), [("compact", 3), ("precise", 5)])
def test_a_measured_round_opens_the_right_sums(profile: str, parties: int) -> None:
    one = Round(profile, 5000, parties)
    one.require_right(one.read())
    wrong = one.read()
    wrong[17] += 1e-6
    with pytest.raises(AssertionError):
        one.require_right(wrong)


def test_the_plain_round_goes_through_all_its_rounds() -> None:
    measured = round231.plain(3)
    assert len(measured.seconds) == 3
    assert all(seconds > 0 for seconds in measured.seconds)


def test_peaks_of_memory_see_what_a_role_holds() -> None:
    """A keyholder of two of three shares has at least the two answers in its hands, sealed."""
    values = 400_000
    assert memory.measure_here("keyholder", values, "compact") > 2 * COMPACT.packed_size(values)


def test_counts_are_those_of_the_protocol() -> None:
    compact, precise = limits.counts(COMPACT), limits.counts(PRECISE)
    assert compact["sha256_bytes"] == 6
    assert precise["sha256_bytes"] == 93 / 8
    assert compact["aes_bytes"] == 14
    assert precise["aes_bytes"] == 20
    assert compact["lane_operations"] == 11 / 2 * 8 + 18


def test_made_up_patients_have_many_ties_and_lie_in_three_regions(tmp_path: Path) -> None:
    patients = Patients.make(30_000)
    assert patients.x.shape == (30_000, len(COVARIATES))
    assert len(np.unique(patients.day)) > 0.99 * LAST_DAY
    assert 0.2 < patients.event.mean() < 0.8
    assert np.array_equal(patients.x, Patients.make(30_000).x)
    assert np.bincount(patients.region).tolist() == [10_000] * len(REGIONS)
    patients.write_regions(tmp_path)
    for kind in fits.PEERS:
        (tmp_path / "study.toml").write_text(study(kind))
        assert Study.load(tmp_path / "study.toml").contributors == REGIONS
