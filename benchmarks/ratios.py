"""`make ratios`: hefed against other programs and against the clear, in one run, one thread each.

Writes into `benchmarks/results/`: `ratios.json` (a speed ratio above 1 means that hefed is faster, null where a peer is
absent), `details.json` (what the ratios are made of, and the machine), `steps.json` (every step of a round), and
`ratios.md` and plots. Whatever is compared runs in turn in the same minutes; of each the least time counts.
`--only NAME` runs one part again and keeps the others' results, `--quick` uses small sizes and writes elsewhere, to see
that all of it works.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks import counted231, fits, in_process, limits, memory, peers, profiling, round231, start
from benchmarks.machine import load, machine
from benchmarks.worker import ROOT, Absent, Worker, interleaved
from hefed.crypto.parameters import PROFILES

RESULTS = ROOT / "benchmarks" / "results"
Details = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large and how often."""

    values: int = 1_000_000
    repetitions: int = 7
    growth: tuple[int, int] = (100_000, 10_000_000)
    longest: int = 10_000_000
    rows: tuple[int, int] = (100_000, 1_000_000)
    fits: tuple[int, int] = (5, 3)
    """Repetitions with fewer and with more rows."""
    rounds: int = 40
    turns: int = 5
    least: int = 3
    """Times that a step is measured at least, until it has taken `longest_step` seconds."""
    longest_step: float = 0.3
    full: bool = True


QUICK = Size(20_000, 2, (10_000, 50_000), 100_000, (3_000, 3_000), (1, 1), 3, 1, 1, 0.001, full=False)

PEERS = {
    "tenseal_flare": ("tenseal_flare.py",),
    "openfhe": ("openfhe_multiparty.py",),
    "openfhe_least": ("openfhe_multiparty.py", "least"),
    "desilofhe": ("desilofhe_multiparty.py",),
}


def _hefed(profile: str, values: int) -> Worker:
    return Worker(sys.executable, "-m", "benchmarks.hefed_worker", profile, str(values))


def encryption(size: Size) -> Details:
    """A region's contribution and a round's opening, by hefed and by every peer that is here."""
    workers = {"hefed": _hefed("compact", size.values)}
    found: Details = {"values": size.values, "absent": {}}
    for name, (script, *options) in PEERS.items():
        try:
            workers[name] = peers.start(script, str(size.values), *options)
        except Absent as error:
            found["absent"][name] = str(error)
            print(f"{name} is left out: {error}", file=sys.stderr)
    try:
        systems = interleaved(workers, ("encrypt", "open"), size.repetitions)
        systems["hefed"] |= interleaved({"hefed": workers["hefed"]}, ("encrypt-tenseal", "encrypt"), 3)["hefed"] | {
            "encrypt": systems["hefed"]["encrypt"]
        }
        found["systems"] = {name: {"is": workers[name].ready["ready"], **jobs} for name, jobs in systems.items()}
    finally:
        for worker in workers.values():
            worker.close()
    return found


def growth(size: Size) -> Details:
    """All parts of a round, short and long, in turn."""
    workers = {str(values): _hefed("compact", values) for values in size.growth}
    try:
        best = interleaved(workers, ("round",), size.repetitions)
    finally:
        for worker in workers.values():
            worker.close()
    return {values: jobs["round"] for values, jobs in best.items()}


def peaks(size: Size) -> Details:
    """Megabytes above the vector, by role; and of whole processes."""
    processes = memory.of_processes(size.longest)
    return {"values": size.longest, "megabytes": memory.measure(size.longest), "processes": processes}


def small_round(size: Size) -> Details:
    """A round of 231 values between processes, and the same in the clear."""
    return {
        **round231.compare(size.rounds, size.turns),
        "counted": counted231.counted(round231.VALUES),
        "libraries": counted231.libraries(round231.VALUES),
        "processor": round231.processor(10 * size.rounds),
        "in_process": in_process.alone(round231.VALUES, 2 * size.rounds),
    }


@lru_cache
def _compared(kind: str, rows: int, repetitions: int) -> Details:
    """Once for sizes that are the same."""
    with tempfile.TemporaryDirectory() as folder:
        return fits.compare(kind, rows, repetitions, Path(folder))


def _fit(kind: str, index: int) -> Callable[[Size], Details]:
    return lambda size: _compared(kind, size.rows[index], size.fits[index])


def machine_limits(size: Size) -> Details:
    """What the machine can do."""
    measured = limits.rates()
    return {"rates": measured, "bounds_ms_per_million": limits.bounds(measured)}


def first_start(size: Size) -> Details:
    """Seconds of a process that tests the encryption: with nothing compiled yet, and later."""
    measured = start.measure(3) if size.full else start.measure(1, start.ONE_KERNEL)
    return {"of": "both profiles' self-tests" if size.full else "one kernel", **measured}


def profiles(size: Size) -> Details:
    """Where the time of a round's steps goes."""
    parts = {name: profiling.profile(name, size.values, size.repetitions) for name in PROFILES}
    return {"values": size.values, "parts": parts}


WHOLE = ("benchmarks/test_network.py", "benchmarks/test_fits.py")
"""Benchmarks of what other parts measure."""


def steps(size: Size) -> Details:
    """Every step of a round, by pytest-benchmark: one entry a case."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.json")
        command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "--benchmark-quiet", f"--benchmark-json={path}"]
        command += [f"--ignore={one}" for one in WHOLE]
        command += [f"--benchmark-min-rounds={size.least}", f"--benchmark-max-time={size.longest_step}"]
        command += ["--full"] if size.full else []
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)  # noqa: S603  our own program
        runs = json.loads(path.read_text())["benchmarks"]
    return {
        "steps": [{"seconds": run["stats"]["min"]} | run["extra_info"] for run in runs if "step" in run["extra_info"]]
    }


PARTS: dict[str, Callable[[Size], Details]] = {
    "limits": machine_limits,
    "encryption": encryption,
    "growth": growth,
    "peaks": peaks,
    "profiles": profiles,
    "start": first_start,
    "small_round": small_round,
    "cox_small": _fit("cox", 0),
    "cox_large": _fit("cox", 1),
    "logistic": _fit("logistic", 1),
    "steps": steps,
}

BOUNDS: dict[str, tuple[str, float]] = {
    "encrypt_vs_tenseal_flare": ("at least", 50),
    "encrypt_vs_openfhe": ("at least", 50),
    "encrypt_vs_desilofhe": ("at least", 50),
    "open_vs_openfhe": ("at least", 20),
    "open_vs_desilofhe": ("at least", 20),
    "engine_vectorised_vs_tenseal": ("at least", 8),
    "bytes_per_value": ("at most", 6.1),
    "time_growth_1e5_1e7": ("at most", 1.1),
    "peak_mb_above_vector_1e7": ("at most", 200),
    "round_231_vs_plain": ("at most", 3),
    "cox_100k_vs_lifelines": ("at least", 2),
    "cox_1m_vs_lifelines": ("at least", 3),
    "cox_1m_vs_r": ("above", 1),
    "logistic_1m_vs_sklearn": ("above", 1),
}
"""What is to be reached."""


def ratios(details: Details) -> dict[str, float | None]:
    """The figures under their names, from the details; None where a part or a peer is missing."""
    found: dict[str, float | None] = dict.fromkeys(BOUNDS)
    if part := details.get("encryption"):
        systems = part["systems"]
        hefed = systems["hefed"]
        for name, system in systems.items():
            for job in ("encrypt", "open"):
                if f"{job}_vs_{name}" in found:
                    found[f"{job}_vs_{name}"] = system[job]["seconds"] / hefed[job]["seconds"]
        found["engine_vectorised_vs_tenseal"] = hefed["encrypt-tenseal"]["seconds"] / hefed["encrypt"]["seconds"]
        found["bytes_per_value"] = hefed["encrypt"]["bytes"] / part["values"]
    if part := details.get("growth"):
        short, long = sorted(part, key=int)
        each = [part[values]["seconds"] / int(values) for values in (short, long)]
        found["time_growth_1e5_1e7"] = each[1] / each[0]
    if part := details.get("peaks"):
        found["peak_mb_above_vector_1e7"] = max(*part["megabytes"].values(), *part["processes"].values())
    if part := details.get("small_round"):
        medians = part["medians"]
        found["round_231_vs_plain"] = min(medians["tenseal"]) / min(medians["plain"])
    for name, where, peer in (
        ("cox_100k_vs_lifelines", "cox_small", "lifelines"),
        ("cox_1m_vs_lifelines", "cox_large", "lifelines"),
        ("cox_1m_vs_r", "cox_large", "r"),
        ("logistic_1m_vs_sklearn", "logistic", "sklearn"),
    ):
        if (part := details.get(where)) and "seconds" in part["peers"].get(peer, {}):
            found[name] = part["peers"][peer]["seconds"] / part["hefed"]["seconds"]
    return {name: value if value is None else float(f"{value:.4g}") for name, value in found.items()}


def is_met(name: str, value: float | None) -> bool | None:
    """Whether a figure is what is to be reached; None when there is no figure."""
    how, bound = BOUNDS[name]
    if value is None:
        return None
    return value <= bound if how == "at most" else value >= bound if how == "at least" else value > bound


def table(found: dict[str, float | None]) -> str:
    """The figures beside their bounds, in Markdown."""
    words = {True: "yes", False: "no", None: "not measured"}
    rows = [
        f"| `{name}` | {'' if value is None else f'{value:g}'} | {how} {bound:g} | {words[is_met(name, value)]} |"
        for name, value in found.items()
        for how, bound in (BOUNDS[name],)
    ]
    return "\n".join(["| figure | measured | to be reached | reached |", "|---|---|---|---|", *rows, ""])


def write(folder: Path, details: Details) -> None:
    """All results but the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    found = ratios(details)
    rest = dict(details)
    for name, content in (("steps", rest.pop("steps", None)), ("details", rest), ("ratios", found)):
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "ratios.md").write_text(table(found))


def read(folder: Path) -> Details:
    """The details of earlier parts."""
    details: Details = {}
    if (folder / "details.json").exists():
        details |= json.loads((folder / "details.json").read_text())
    if (folder / "steps.json").exists():
        details["steps"] = json.loads((folder / "steps.json").read_text())
    return details


def plot(folder: Path) -> None:
    """Plots of what there is, where there is matplotlib; what is missing is said, and a failure is one."""
    others = ROOT / ".venv-peers" / "bin" / "python"
    python = others if others.exists() else sys.executable
    subprocess.run([str(python), str(ROOT / "benchmarks" / "plots.py"), str(folder)], check=True)  # noqa: S603  ours


def main() -> None:
    """Runs the parts, writing after each what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else Size()
    folder = chosen.out or (ROOT / "ratios-quick" if chosen.quick else RESULTS)
    details = read(folder) if chosen.only else {}
    details["machine"] = machine()
    loads = details.setdefault("load", {})
    for name in chosen.only or PARTS:
        begun, before = time.monotonic(), load()
        details[name] = PARTS[name](size)
        loads[name] = [before, load()]
        print(f"{name}: {time.monotonic() - begun:.0f} s, load {before} to {loads[name][1]}", file=sys.stderr)
        write(folder, details)
    plot(folder)
    print(table(ratios(details)))


if __name__ == "__main__":
    main()
