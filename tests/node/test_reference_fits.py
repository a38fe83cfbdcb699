"""Every pooled answer of R, through `hefed simulate`: real processes, in both profiles and with both engines."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hefed.crypto.parameters import PROFILES
from hefed.node.proof import audit, verify
from hefed.node.transcripts import opened
from hefed.protocol.audit import unfinished
from tests.node.runs import (
    COX,
    EXAMPLES,
    LOGISTIC,
    REGIONS,
    assert_same_fit,
    command,
    environment,
    parties_in,
    processes_of,
    reference,
    secret_files,
    study_file,
)

LEAVES = " is not connected any more"  # at the end: the analyst has its answer, and everybody is stopped
SHARED, DISEASE = "heart-failure/cox-shared.toml", "heart-disease/logistic.toml"


@dataclass(frozen=True)
class Case:
    """A study and the answer that it must give."""

    example: str
    profile: str
    engine: str
    fit: dict[str, Any]
    keys: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([Path(self.example).stem, *map(str, self.keys.values()), self.profile, self.engine])


def _cox(profile: str, engine: str, ties: str) -> Case:
    return Case(COX, profile, engine, reference(COX, ties=ties, stratified_by_site=True), {"ties": ties})


def _shared(engine: str, ties: str) -> Case:
    fit = reference(COX, ties=ties, stratified_by_site=False)
    return Case(SHARED, "precise", engine, fit, {"ties": ties})


def _logistic(example: str, profile: str, engine: str) -> Case:
    return Case(example, profile, engine, reference(example, site_intercepts=False))


CASES = (
    _cox("precise", "tenseal", "efron"),
    _cox("compact", "vectorised", "efron"),
    _cox("precise", "vectorised", "breslow"),
    _cox("compact", "tenseal", "breslow"),
    _shared("tenseal", "efron"),
    _shared("vectorised", "breslow"),
    _logistic(LOGISTIC, "precise", "vectorised"),
    _logistic(LOGISTIC, "compact", "tenseal"),
    _logistic(DISEASE, "precise", "tenseal"),
    _logistic(DISEASE, "compact", "vectorised"),
)


@dataclass(frozen=True)
class Outcome:
    """What one run left, and what it took."""

    code: int
    out: str
    err: str
    folder: Path
    seconds: float
    peak_megabytes: dict[str, float]

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "result.json").read_text()))


def _run(case: Case, folder: Path) -> Outcome:
    study = study_file(folder, case.example, security=f'engine = "{case.engine}"', profile=case.profile, **case.keys)
    reference_file = EXAMPLES / "reference/heart-failure-cox.json"
    compare = ("--compare", reference_file) if case is CASES[0] else ()
    peak: dict[str, float] = {}
    start = time.perf_counter()
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command("simulate", study, "--out", folder / "out", *compare),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        while process.poll() is None:
            for name, number in parties_in(folder / "out").items():
                peak[name] = max(peak.get(name, 0.0), _peak_megabytes(number))
            time.sleep(0.1)
            if time.perf_counter() - start > 90:
                process.kill()
    seconds = time.perf_counter() - start
    out, err = (folder / "stdout").read_text(), (folder / "stderr").read_text()
    return Outcome(process.returncode, out, err, folder / "out", seconds, peak)


def _peak_megabytes(number: int) -> float:
    try:
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0.0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0][1]) / 1024 if lines else 0.0


RunOf = Callable[[Case], Outcome]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """Runs each study once."""
    outcomes: dict[str, Outcome] = {}

    def run(case: Case) -> Outcome:
        if str(case) not in outcomes:
            outcomes[str(case)] = _run(case, tmp_path_factory.mktemp("fit"))
        return outcomes[str(case)]

    return run


@pytest.fixture(params=CASES, ids=str)
def done(request: pytest.FixtureRequest, run_of: RunOf) -> tuple[Case, Outcome]:
    """A study and how its run ended."""
    return request.param, run_of(request.param)


@pytest.fixture
def demo(run_of: RunOf) -> Outcome:
    """The first command that a person types."""
    return run_of(CASES[0])


def test_the_answer_is_the_pooled_one(done: tuple[Case, Outcome]) -> None:
    case, outcome = done
    assert outcome.code == 0, outcome.err
    document = outcome.document
    estimates = [coefficient["estimate"] for coefficient in document["coefficients"]]
    errors = [coefficient["std_error"] for coefficient in document["coefficients"]]
    assert_same_fit(estimates, errors, document["log_likelihood"], document["log_likelihood_null"], case.fit)
    assert (document["n"], document["events"]) == (case.fit["n"], case.fit["events"])
    assert document["converged"] is True


def test_every_round_was_opened_by_keyholders_that_confirm_each_other(done: tuple[Case, Outcome]) -> None:
    case, outcome = done
    rounds = outcome.document["rounds"]
    assert [part["checked"] for part in rounds] == [True] * len(rounds)
    assert rounds[0]["purpose"] == "known answer"
    regions = outcome.document["regions"]
    assert all(part["contributors"] == regions == part["keyholders"] for part in rounds)
    bits = PROFILES[case.profile].bits_per_value
    for part in rounds:
        assert part["bytes_sent"] > len(regions) * part["values"] * bits // 8
        assert 0 < part["seconds"] < outcome.seconds


def test_the_result_has_exactly_its_form(done: tuple[Case, Outcome]) -> None:
    case, outcome = done
    document = outcome.document
    assert list(document) == [
        "study", "model", "regions", "n", "events", "coefficients", "log_likelihood", "log_likelihood_null",
        "iterations", "converged", "security", "rounds",
    ]  # fmt: skip
    assert list(document["model"]) == ["kind", "ties", "baseline", "covariates"]
    covariates = document["model"]["covariates"]
    names = ["(intercept)", *covariates] if document["model"]["kind"] == "logistic" else covariates
    assert [coefficient["name"] for coefficient in document["coefficients"]] == names
    for coefficient in document["coefficients"]:
        assert list(coefficient) == ["name", "estimate", "std_error", "z", "p_value", "ci_lower", "ci_upper"]
        assert coefficient["ci_lower"] < coefficient["estimate"] < coefficient["ci_upper"]
        assert 0 <= coefficient["p_value"] <= 1
    profile = PROFILES[case.profile]
    assert document["security"] == {
        "threshold": 2,
        "keyholders": document["regions"],
        "profile": case.profile,
        "engine": case.engine,
        "ring_degree": profile.ring_degree,
        "modulus_bits": profile.modulus_bits,
    }
    keys = ["purpose", "contributors", "keyholders", "values", "bytes_sent", "seconds", "checked"]
    assert all(list(part) == keys for part in document["rounds"])


def test_no_process_and_no_key_is_left(done: tuple[Case, Outcome]) -> None:
    _, outcome = done
    assert processes_of(outcome.folder) == {}
    assert secret_files(outcome.folder) == []


def test_nothing_went_wrong_on_the_way(done: tuple[Case, Outcome]) -> None:
    _, outcome = done
    for log in outcome.folder.rglob("log.txt"):
        lines = log.read_text().splitlines()
        assert lines
        while lines[-1].endswith(LEAVES):
            lines.pop()
        assert [line for line in lines if " INFO " not in line] == []


def test_a_round_takes_well_under_a_third_of_a_second(run_of: RunOf) -> None:
    rounds = [run_of(case).document["rounds"] for case in CASES]
    medians = [statistics.median(part["seconds"] for part in study) for study in rounds]
    assert min(medians) < 0.3  # the quickest of the studies: others may have shared the machine


def test_a_node_stays_under_400_megabytes(done: tuple[Case, Outcome]) -> None:
    _, outcome = done
    assert set(outcome.peak_megabytes) == {"aggregator", *outcome.document["regions"]}
    assert all(50 < peak < 400 for peak in outcome.peak_megabytes.values()), outcome.peak_megabytes


def test_the_demonstration_ends_with_the_pooled_answer_beside_the_federated_one(demo: Outcome) -> None:
    assert "Beside the pooled answer (R version" in demo.out
    (line,) = [line for line in demo.out.splitlines() if line.startswith("Largest difference of an estimate")]
    assert float(line.split(":")[1].split()[0]) < 1e-6
    assert all(name in demo.out for name in REGIONS)


def test_a_whole_study_takes_less_than_20_seconds(run_of: RunOf) -> None:
    assert min(run_of(case).seconds for case in CASES) < 20  # the quickest, for the same reason


def test_progress_is_plain_lines_in_a_pipe(demo: Outcome) -> None:
    assert "\x1b" not in demo.out + demo.err
    lines = demo.err.splitlines()
    assert lines[0].endswith("waiting for the parties")
    assert lines[-1].endswith("finished")
    assert any("round 5, newton: encrypted contributions" in line for line in lines)
    assert all(line.split()[1] == "s" and float(line.split()[0]) >= 0 for line in lines)


def test_the_transcripts_of_all_parties_are_well(done: tuple[Case, Outcome]) -> None:
    _, outcome = done
    with opened([outcome.folder]) as files:
        (audited,) = audit(files).studies
    assert audited.findings == []
    assert {one.party for one in audited.replayed} == {"aggregator", *audited.board.study.members}
    assert all(one.whole and unfinished(one.board) is None for one in audited.replayed)
    assert len(audited.releases) == len(outcome.document["rounds"])
    assert all(one.verified == "added" and one.checked_again == one.contributors for one in audited.releases)


def test_the_result_proves_itself(done: tuple[Case, Outcome]) -> None:
    _, outcome = done
    with (outcome.folder / "result.hefed").open("rb") as file:
        proof = verify(file)
    assert proof.reader.is_full
    assert proof.reader.document["estimate"] == [row["estimate"] for row in outcome.document["coefficients"]]
    assert proof.reader.document["std_error"] == [row["std_error"] for row in outcome.document["coefficients"]]
