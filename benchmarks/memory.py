"""The most memory that each party of a long round needs: python -m benchmarks.memory ROLE VALUES [PROFILE].

Each role is a process of its own that has done a short round before, so that what is compiled and tabulated does not
count, and gets what others send from files, one message after another. Its figure is the peak of its resident memory
(VmHWM) during the step, minus what it held before, minus the caller's own vector of 8 bytes a value: a contributor's is
what it sends, a reader's what it gets. What is received and what is to be sent counts in full. The label's exponents, 2
bytes a value, are there before.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.load.run import Case
from benchmarks.load.run import measure as load
from benchmarks.rounds import Round
from benchmarks.worker import ROOT

ROLES = ("contributor", "aggregator", "keyholder", "reader")


def _resident(what: str) -> int:
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(what))
    return int(line.split()[1]) * 1024


class _Lent:
    """Contributions or answers that are read from disk one by one, as they come."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __iter__(self):
        return (path.read_bytes() for path in self._paths)


def _step(role: str, one: Round, folder: Path) -> Callable[[], object]:
    """What a role does; before it, another round has written what it receives."""
    if role == "contributor":
        return one.encrypt
    if role == "keyholder":
        return one.answer
    if role == "aggregator":
        paths = []
        for i, packed in enumerate(one.contributions):
            paths.append(folder / f"contribution-{i}")
            paths[-1].write_bytes(packed)
        one.__dict__["contributions"] = _Lent(paths)
        return one.aggregate
    (folder / "total").write_bytes(one.total)
    paths = []
    for i, sealed in enumerate(one.sealed):
        paths.append(folder / f"sealed-{i}")
        paths[-1].write_bytes(sealed)
    one.checks  # noqa: B018  made before
    for name in ("contributions", "total", "sealed"):
        one.__dict__.pop(name)

    def read() -> object:
        opening = one.take(_Lent(paths))
        one.__dict__["total"] = (folder / "total").read_bytes()  # comes last
        return one.finish(opening)

    return read


def measure_here(role: str, values: int, profile: str) -> int:
    """Bytes above what this process held before and above the vector."""
    with tempfile.TemporaryDirectory() as folder:
        _step(role, Round(profile, 20_000), Path(folder))()
        one = Round(profile, values)
        vector = 8 * values if role in ("contributor", "reader") else 0
        step = _step(role, one, Path(folder))
        if role == "contributor":
            one.own_vector  # noqa: B018  the caller's
        before = _resident("VmRSS") - (vector if role == "contributor" else 0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        kept = step()
        assert kept is not None
        return _resident("VmHWM") - before - vector


def measure(values: int, profile: str = "compact") -> dict[str, float]:
    """Megabytes (10**6 bytes) for each role."""
    peaks = {}
    for role in ROLES:
        command = [sys.executable, "-m", "benchmarks.memory", role, str(values), profile]
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603  ours
        peaks[role] = round(json.loads(output) / 1e6, 1)
    return peaks


def of_processes(values: int) -> dict[str, float]:
    """Megabytes that whole processes of a study of `compact` need at most, above those of a study of 1,000 values and,
    for a region, above the vector: what it sends, and later what it opened. With ZeroMQ, SQLite, files that are mapped;
    a region is contributor, keyholder and reader at once.
    """
    measured = []
    for length in (1000, values):
        with tempfile.TemporaryDirectory() as folder:
            measured.append(load(Case(3, length, 1, "compact", "vectorised"), Path(folder, "parties")))
    short, long = measured
    vectors = {"aggregator": 0, "contributor": 8 * values, "keyholder": 8 * values}
    return {
        role: round((getattr(long, role).peak - getattr(short, role).peak - vector) / 1e6, 1)
        for role, vector in vectors.items()
    }


if __name__ == "__main__":
    print(measure_here(sys.argv[1], int(sys.argv[2]), sys.argv[3] if sys.argv[3:] else "compact"))
