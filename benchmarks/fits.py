"""Whole fits: three regions, each a process with its own table, over ZeroMQ: python -m benchmarks.fits cox 100000.

What is timed begins when processes are up, tables are loaded and keys are dealt, and ends with the signed end of the
study: the known answer, every round with its network, disk and encryption, and the result. Times are those of the
aggregator's own record.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.made_up import DEADLINE, Patients
from benchmarks.made_up import study as study_file
from benchmarks.worker import Absent, Worker
from hefed.node.analyst import Submission
from hefed.node.parties import AGGREGATOR, ANALYST, Parties
from hefed.node.simulate import follow
from hefed.study import Study


@dataclass(frozen=True)
class Fit:
    """What an encrypted fit took and found."""

    seconds: float
    set_up: float
    """Seconds before: processes, tables, approvals, keys."""
    rounds: int
    """The known answer included."""
    estimate: list[float]
    std_error: list[float]


def encrypted_fit(kind: str, tables: Path) -> Fit:
    """One fit of the tables in a folder, by processes of its own. Raises NodeError or StudyFailedError."""
    with tempfile.TemporaryDirectory(dir=tables) as folder:
        path = tables / f"{kind}.toml"
        path.write_text(study_file(kind))
        begun = time.time()
        with Parties(Path(folder, "parties"), Study.load(path)) as parties:
            submission = Submission(parties.study, parties.roster, ANALYST, int(begun) + DEADLINE)
            parties.configure(submission.study, 0)
            parties.start_all()
            while parties.endpoint() is None:
                parties.require_aggregator()
                time.sleep(0.02)
            board = follow(parties, submission, lambda board, message: parties.require_aggregator())
            if board.outcome is None or board.outcome.how != "result":
                raise RuntimeError(f"the study did not end with a result: {board.outcome}")
            document = submission.open(board).document
            dealt, ended, rounds = _times(Path(folder, "parties", AGGREGATOR, "state.sqlite"))
    coefficients = _coefficients(document)
    return Fit(ended - dealt, dealt - begun, rounds, *coefficients)


def _coefficients(document: dict[str, object]) -> tuple[list[float], list[float]]:
    return list(document["estimate"]), list(document["std_error"])


def _times(path: Path) -> tuple[float, float, int]:
    """When the last signature under the cohort was recorded, when the study had ended, and how many sums between."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows: list[tuple[str, float]] = db.execute("SELECT kind, at FROM entry ORDER BY number").fetchall()
    dealt = max(at for kind, at in rows if kind == "cohort")
    ended = max(at for kind, at in rows if kind == "closing")
    return dealt, ended, sum(kind == "sum" for kind, _ in rows)


PEERS = {
    "cox": {"lifelines": "lifelines_cox.py", "r": "coxph_fit.R"},
    "logistic": {"sklearn": "sklearn_logistic.py"},
}


def compare(kind: str, rows: int, repetitions: int, folder: Path) -> dict[str, object]:
    """Encrypted fits and those of the peers on the pooled table in turn: least seconds of each, largest difference.

    A peer that is absent has no seconds, but words.
    """
    from benchmarks.peers import start

    patients = Patients.make(rows)
    patients.write_regions(folder)
    pooled = folder / "pooled.npz"
    patients.write_pooled(pooled)
    del patients
    workers: dict[str, Worker] = {}
    peers: dict[str, dict[str, Any]] = {}
    for name, script in PEERS[kind].items():
        try:
            workers[name] = start(script, str(pooled))
            peers[name] = {"ready": workers[name].ready["ready"]}
        except Absent as error:
            peers[name] = {"absent": str(error)}
            print(f"{name} is left out: {error}", file=sys.stderr)
    fits: list[Fit] = []
    try:
        for _ in range(repetitions):
            fits.append(encrypted_fit(kind, folder))
            for name, worker in workers.items():
                answer = worker.do("fit")
                seconds = min(float(answer["seconds"]), peers[name].get("seconds", np.inf))
                peers[name] |= {"seconds": seconds}
        for name, worker in workers.items():
            peers[name] |= {"estimate": worker.do("same-model")["estimate"]}
    finally:
        for worker in workers.values():
            worker.close()
    best = min(fits, key=lambda fit: fit.seconds)
    for peer in peers.values():
        _add_difference(peer, best)
    ours = {name: value for name, value in asdict(best).items() if name not in ("estimate", "std_error")}
    return {"kind": kind, "rows": rows, "repetitions": repetitions, "hefed": ours, "peers": peers}


def _add_difference(peer: dict[str, Any], best: Fit) -> None:
    """The largest difference of a coefficient in standard errors; a Cox peer is asked for baselines by region too."""
    if (estimate := peer.pop("estimate", None)) is not None:
        difference = (np.array(estimate) - best.estimate) / best.std_error
        peer["largest_difference_in_standard_errors"] = float(np.abs(difference).max())


def main() -> None:
    """Prints one comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(PEERS))
    parser.add_argument("rows", type=int)
    parser.add_argument("--repetitions", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(chosen.kind, chosen.rows, chosen.repetitions, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
