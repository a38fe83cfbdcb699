"""What `make ratios` computes from what it measures, and that the page of figures is the one that the results make."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bounds, cases, fits, limits, performance, plots, profiling, ratios, round231
from benchmarks.made_up import COVARIATES, LAST_DAY, REGIONS, Patients, study
from benchmarks.rounds import Round
from benchmarks.tables import Steps, number
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
    "peaks": {"megabytes": {"contributor": 99.0, "reader": 150.0}, "processes": {"aggregator": 160.0}},
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
    assert found["peak_mb_above_vector_1e7"] == 160
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


def test_the_page_says_why_a_figure_is_not_reached(results: Path) -> None:
    page, found = performance.made_from(results), json.loads((results / "ratios.json").read_text())
    for name, value in found.items():
        assert (f"\n- `{name}`: " in page) == (ratios.is_met(name, value) is False), name
    assert "20,000 values of a contribution in place of 1,000,000" in page
    assert "Not measured." not in page
    assert ("![Time against values]" in page) == (results / "seconds.png").exists()


def test_a_page_of_one_part_says_what_was_not_measured(results: Path) -> None:
    details = {name: part for name, part in ratios.read(results).items() if name in ("limits", "machine", "load")}
    page = performance.page(details, ratios.ratios(details), results)
    assert "| AES-256-CTR, bytes |" in page
    assert "## Length\n\nNot measured.\n" in page
    assert "not measured: `encryption`, `growth`" in " ".join(page.split())


@pytest.mark.parametrize("name", [name for name in ratios.BOUNDS if name != "cox_1m_vs_r"])
def test_every_figure_has_its_reasons(results: Path, name: str) -> None:
    """As the page would state them, were the figure not what it should be."""
    details = ratios.read(results)
    value = ratios.ratios(details)[name]
    missed = {"at most": 1e9}.get(ratios.BOUNDS[name][0], 0.0)
    said = bounds.unmet_section(details, {name: None if value is None else missed})
    assert (f"- `{name}`: " in said) == (value is not None)


def test_figures_have_three_digits() -> None:
    assert [number(x) for x in (0.012345, 1.5, 12.345, 1234.5, 0)] == [
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
    command = [sys.executable, "-m", "benchmarks.memory", "keyholder", str(values), "compact"]
    peak = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert int(peak) > 2 * COMPACT.packed_size(values)


def test_counts_are_those_of_the_protocol() -> None:
    compact, precise = limits.counts(COMPACT), limits.counts(PRECISE)
    assert compact["sha256_bytes"] == 6
    assert precise["sha256_bytes"] == 93 / 8
    assert compact["aes_bytes"] == 14
    assert precise["aes_bytes"] == 20
    # 18 of three products; nine stages of one butterfly for two values; two with one product and eight sums for four.
    assert compact["lane_operations"] == 18 + 9 / 2 * 8 + 14 / 4
    assert precise["lane_operations"] == 2 * (18 + 10 / 2 * 8 + 14 / 4)
    assert limits.opening_counts(COMPACT)["sha256_bytes"] == (2 + 3 + 1) * 6


def test_bounds_are_counts_over_rates() -> None:
    rates = {"lane_operations": 57.5e9, "memory_bytes": 16e9, "aes_bytes": 14e9, "seal_bytes": 1e9, "sha256_bytes": 6e9}
    found = limits.bounds(rates)["encrypt"]["compact"]
    assert found == {
        "lane_operations": 1.0,
        "memory_bytes": 1.0,
        "aes_bytes": 1.0,
        "seal_bytes": 0.0,
        "sha256_bytes": 1.0,
        "sum": 4.0,
    }


@pytest.mark.parametrize("profile", ["compact", "precise"])
def test_a_profile_divides_a_step_s_time_among_its_kernels(profile: str) -> None:
    before = hashlib.sha256
    found = profiling.profile(profile, 5000, 1)
    assert hashlib.sha256 is before
    assert set(found) == set(bounds.STEP_NAMES)
    assert {"keystream", "load_products", "inverse_stages", "sample", "finish", "encode", "sha256"} < set(
        found["encrypt"]
    )
    assert {"seals", "sha256", "check_sums", "decode"} < set(found["read"])
    for parts in found.values():
        assert all(seconds > 0 for seconds in parts.values())


def test_a_watch_counts_what_is_inside_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 13.0, 20.0])
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(now))
    watch = profiling.Watch()
    inner = watch.timed("inner", lambda: 5)
    assert watch.timed("outer", lambda: inner() + 1)() == 6
    assert watch.seconds == {"inner": 3.0, "outer": 17.0}


def test_a_start_is_more_than_python_s_own(results: Path) -> None:
    found = ratios.read(results)["start"]
    assert min(found["first"], found["second"]) > found["numpy alone"] > 0
    assert found["of"] == "one kernel"


# --- Cases, plots, peers


def test_the_full_form_has_every_length_number_of_regions_profile_and_engine() -> None:
    every = cases.cases(True, by_parties=True, by_engine=True)
    sizes = {(case.profile, case.values, case.parties) for case in every if case.engine == "vectorised"}
    assert sizes == {(p, 10**k, n) for p in ("compact", "precise") for k in (3, 4, 5, 6, 7) for n in (3, 5, 9)}
    seal = {(case.profile, case.values) for case in every if case.engine == "tenseal"}
    assert seal == {(p, 10**k) for p in ("compact", "precise") for k in (3, 4, 5, 6, 7)}
    assert len({str(case) for case in every}) == len(every)


def _steps(folder: Path, *lengths: int) -> Path:
    case = {"step": "encrypt", "profile": "compact", "engine": "vectorised", "parties": 3, "bytes": None}
    steps = [case | {"values": values, "seconds": 1e-9 * values**2} for values in lengths]
    (folder / "steps.json").write_text(json.dumps({"steps": steps}))
    return folder


def test_plots_have_the_slope_of_each_step(tmp_path: Path) -> None:
    steps = plots.read(_steps(tmp_path, 1000, 100, 10))
    ((_, engine, name, points),) = plots.lines(steps, "compact", "seconds")
    assert (engine, name, [values for values, _ in points]) == ("vectorised", "encrypt", [10, 100, 1000])
    assert plots.slope(points) == pytest.approx(2)
    assert Steps(steps).slope("encrypt", "precise") is None


def test_what_cannot_be_drawn_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plots.main(tmp_path)
    assert "no steps were measured: there is no steps.json" in capsys.readouterr().err
    plots.main(_steps(tmp_path, 1000))
    assert "has no step of two lengths" in capsys.readouterr().err


def test_a_python_3_10_is_found_behind_a_name_without_a_program(tmp_path: Path) -> None:
    """As pyenv's, which stand on the path for versions that are not chosen."""
    name, program = tmp_path / "bin" / "python3.10", tmp_path / "versions" / "3.10.99" / "bin" / "python"
    for path in (name, program):
        path.parent.mkdir(parents=True)
    name.write_text("#!/bin/sh\nexit 127\n")
    name.chmod(0o755)
    program.symlink_to(sys.executable)

    def command(*settings: str) -> str:
        environment = os.environ | {"PATH": f"{name.parent}:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path)}
        make = ["make", "-n", "peers", *settings]
        return subprocess.run(make, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    assert f"python310='{program}'" in command()
    assert "python310='/another'" in command("PYTHON310=/another")
    program.unlink()
    assert "python310=''" in command()


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
