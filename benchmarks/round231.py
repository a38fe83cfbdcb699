"""A round of 231 values in `precise` over ZeroMQ between processes, against the same without encryption.

    python -m benchmarks.round231

231 values are what a Newton round of twenty covariates sums. Both sides are three regions and an aggregator, each a
process with its own database on disk, and an analyst who follows, on loopback, in two trips a round: contributions,
then answers. The plain side (`plain_round.py`) sends float64 in the clear, without signatures, and writes the same
messages with the same store, flushed in the same places. A round's time is that between two sums in the aggregator's
own record.
"""

import argparse
import itertools
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.run import Case, measure
from benchmarks.machine import ONE_THREAD
from benchmarks.worker import ROOT

VALUES, REGIONS = 231, 3
WARM_UP = 2
"""Rounds at the beginning that are not counted, the known answer not among them."""


@dataclass(frozen=True)
class Rounds:
    """Seconds of rounds; what is compared is the median, for a round waits for a disk."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Seconds of the middle one."""
        return statistics.median(self.seconds)


def encrypted(rounds: int, engine: str = "tenseal", profile: str = "precise", values: int = VALUES) -> Rounds:
    """Rounds of a study, after the known answer. `tenseal` is what `precise` uses unless told otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(REGIONS, values, rounds + WARM_UP, profile, engine)
        stages = measure(case, Path(folder, "parties")).stages
    seconds = [stage.seconds for stage in stages if stage.name.startswith("round ")]
    return Rounds(seconds[1 + WARM_UP :])


def processor(rounds: int, engine: str = "tenseal") -> dict[str, float]:
    """Seconds of a processor that a round takes, in the aggregator, in a region and in the analyst, whatever they do in
    it, and in the clear in all together: what more rounds take more than a few.
    """
    used, own, clear = [], [], []
    for length in (WARM_UP, WARM_UP + rounds):
        begun = time.process_time()  # the analyst is this process
        with tempfile.TemporaryDirectory() as folder:
            used.append(measure(Case(REGIONS, VALUES, length, "precise", engine), Path(folder, "parties")))
        own.append(time.process_time() - begun)
        ended = _of_children()
        plain(length)
        clear.append(_of_children() - ended)
    short, long = used
    region = sum(getattr(long, role).cpu - getattr(short, role).cpu for role in ("contributor", "keyholder")) / 2
    return {
        "aggregator": (long.aggregator.cpu - short.aggregator.cpu) / rounds,
        "region": region / rounds,
        "analyst": (own[1] - own[0]) / rounds,
        "clear": (clear[1] - clear[0]) / rounds,
    }


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plain(rounds: int, values: int = VALUES) -> Rounds:
    """Rounds without encryption. Raises RuntimeError when a process of it stops."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.plain_round", folder]
        numbers = [str(values), str(rounds + WARM_UP + 1)]
        environment = {**os.environ, **ONE_THREAD}
        roles = ["aggregator", "analyst", *(str(i) for i in range(REGIONS))]
        processes = [
            subprocess.Popen([*command, role, *numbers], cwd=ROOT, env=environment)  # noqa: S603  our own program
            for role in roles
        ]
        try:
            until = time.monotonic() + 300
            while any(process.poll() is None for process in processes):
                if any(process.poll() for process in processes) or time.monotonic() > until:
                    raise RuntimeError("the plain round has stopped")
                time.sleep(0.05)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        with closing(sqlite3.connect(f"file:{folder}/aggregator/state.sqlite?mode=ro", uri=True)) as db:
            times = [at for (at,) in db.execute("SELECT at FROM entry WHERE kind = 'sum' ORDER BY number")]
    return Rounds([end - begin for begin, end in itertools.pairwise(times)][WARM_UP:])


def compare(rounds: int, turns: int) -> dict[str, object]:
    """Both in turn; of each the turn with the least median counts."""
    ours = {engine: [] for engine in ("tenseal", "vectorised")}  # type: dict[str, list[Rounds]]
    theirs: list[Rounds] = []
    for _ in range(turns):
        for engine, measured in ours.items():
            measured.append(encrypted(rounds, engine))
        theirs.append(plain(rounds))
    medians = {engine: [one.median for one in measured] for engine, measured in ours.items()}
    medians["plain"] = [one.median for one in theirs]
    return {"values": VALUES, "rounds": rounds, "turns": turns, "medians": medians}


def main() -> None:
    """Prints one comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    print(json.dumps(compare(chosen.rounds, chosen.turns), indent=1))


if __name__ == "__main__":
    main()
