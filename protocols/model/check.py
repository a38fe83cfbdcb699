"""Checks the protocol's state models with Spin, exhaustively, and prints what came out: `make model`.

Beside each property stand its controls: the same model with one defence off, in which Spin has to find the violation.
Needs spin and gcc, and nothing of hefed's.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = ("spin", "gcc")
MEGABYTES, SECONDS, DEPTH = 2000, 300, 1_000_000
"""Bounds of one search. One that meets them is not complete, and fails."""


@dataclass(frozen=True)
class Run:
    """One search: a model with its options, and the name of what has to be violated, if a defence is off."""

    model: str
    regions: int
    options: tuple[str, ...] = ()
    off: str = ""
    violated: str = ""

    @property
    def name(self) -> str:
        """How a table or a test calls it."""
        return " ".join((self.model, f"R={self.regions}", *self.options))


@dataclass(frozen=True)
class Result:
    """What a search found: "holds", the name of what is violated, or why it says nothing."""

    found: str
    states: int
    seconds: float
    lines: frozenset[int]
    unreached: frozenset[int]


FOUR = ("C=3", "SPARE_GOES=3")
RUNS = (
    Run("cohort", 3),
    Run("cohort", 4, ("FEW",)),
    Run("cohort", 3, ("SEND_FIRST",), "a message is stored before it is sent", "two_signatures"),
    Run("cohort", 3, ("NO_RECALL",), "what was sent is recalled after a restart", "two_signatures"),
    Run("cohort", 3, ("NO_RECALL", "COHORTS_ONLY"), "what was sent is recalled after a restart", "two_cohorts"),
    Run("cohort", 3, ("ANY_COHORT",), "a signature is over the cohort of one's own record", "two_cohorts"),
    Run("cohort", 3, ("NOT_ALL_SIGN",), "nothing is answered before all have signed", "two_cohorts"),
    Run("round", 3),
    Run("round", 4, ("ROUNDS=2",)),
    Run("round", 3, ("SEND_FIRST",), "a message is stored before it is sent", "encrypted_twice"),
    Run("round", 3, ("NO_RECALL",), "what was sent is recalled after a restart", "encrypted_twice"),
    Run("round", 3, ("ONE_LABEL",), "a label contains the round and V", "encrypted_twice"),
    Run("round", 3, ("NO_FLOOR",), "a region refuses a study below min_contributors", "too_few"),
    Run("round", 3, ("NOT_ALL_CONTRIBUTE",), "nothing is answered before all have contributed", "too_few"),
    Run("round", 3, ("ANY_LABEL",), "all labels in a record are the same", "too_few"),
    Run("round", 3, ("NO_V_IN_LABEL",), "a label contains V of the round before", "different_pasts"),
    Run("round", 3, ("NO_CHECK",), "a reader looks whether the check values fit the sum", "wrong_sum"),
    Run("round", 3, ("SAME_ROUND",), "(nothing; this can happen, and README.md says why it may)", "different_sums"),
    Run("liveness", 3),
    Run("liveness", 3, ("ROUNDS=2", "DOWN=1", "LATE=2")),
    Run("liveness", 4, ("DOWN=1", "C=3", "KEYHOLDERS=14", "SPARE_GOES=3")),
    Run("liveness", 4, ("DOWN=1", "LATE=0", *FOUR)),
    Run("liveness", 4, ("DOWN=0", "LATE=2", *FOUR)),
    Run("liveness", 3, ("DOWN=1", "NO_REPLAY"), "the record is replayed after a restart", "ends"),
    Run("liveness", 4, ("DOWN=0", "NO_WAIT", *FOUR), "one that can be spared is left out of the cohort", "ends"),
    Run("liveness", 4, ("DOWN=0", "NO_SECOND_ATTEMPT", *FOUR), "a later attempt asks other keyholders", "ends"),
    Run("liveness", 4, ("DOWN=0", "KEYHOLDERS=12", *FOUR), "(t keyholders live)", "ends"),
)
PROPERTIES = {
    "cohort": "two_signatures, two_cohorts",
    "round": "encrypted_twice, too_few, different_pasts, wrong_sum",
    "liveness": "ends",
}
"""What a model never lets happen, or, for `ends`, what always happens."""


def missing() -> list[str]:
    """Those of the tools that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def source(model: str) -> Path:
    """The file of a model."""
    return HERE / f"{model}.pml"


def check(run: Run, depth: int = DEPTH) -> Result:
    """Searches all states of a model, or until something is violated."""
    options = [f"-D{option}" for option in (f"R={run.regions}", *run.options)]
    is_live = run.model == "liveness"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        _call(folder, "spin", "-a", "-o3", *options, str(source(run.model)))
        kind, effort = "-DNFAIR=3" if is_live else "-DSAFETY", "-O0" if run.violated else "-O2"  # a violation is near
        _call(folder, "gcc", effort, "-w", kind, f"-DMEMLIM={MEGABYTES}", "-o", "pan", "pan.c")
        lines = {int(line) for line in re.findall(r"\.pml:(\d+) => ", _call(folder, "./pan", "-d"))}
        said = _call(folder, "./pan", f"-m{depth}", *(("-a", "-f") if is_live else ()))
    unreached = {int(line) for line in re.findall(r"\.pml:(\d+), state \d+, ", said)}
    stored = re.search(r"(\d+) states, stored", said)
    return Result(
        _found(said), int(stored[1]) if stored else 0, time.monotonic() - begun, frozenset(lines), frozenset(unreached)
    )


def _found(said: str) -> str:
    for sign in ("max search depth too small", "Search not completed", "out of memory", "memory limit"):
        if sign in said and "errors: 1" not in said:
            return f"not complete: {sign}"
    if "Full statespace search for:" not in said and "errors: 0" in said:
        return "not complete: no search of all states"
    if re.search(r"errors: 0$", said, re.MULTILINE):
        return "holds"
    if violation := re.search(r"assertion violated +!\((\w+)\)", said):
        return violation[1]
    return "ends" if "acceptance cycle (at depth" in said else f"not understood: {said.strip()[:200]}"


def _call(folder: str, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.stdout


def never_reached(results: dict[Run, Result], model: str) -> set[int]:
    """The lines of a model that no search without a defence off reached."""
    whole = [result for run, result in results.items() if run.model == model and not run.violated]
    reached = {line for result in whole for line in result.lines - result.unreached}
    return {line for result in whole for line in result.unreached} - reached


def explained(model: str) -> set[int]:
    """The lines of a model that say why they are not reached."""
    return {n for n, line in enumerate(source(model).read_text().splitlines(), 1) if "/* unreached: " in line}


def main() -> int:
    """Runs all searches. Returns 0 if everything came out as it has to."""
    if missing():
        print(f"{' and '.join(missing())} not found: apt-get install spin gcc", file=sys.stderr)
        return 1
    results: dict[Run, Result] = {}
    surprises = []
    print(f"{'model':9} {'regions':7} {'looked for':60} {'states':>9} {'s':>5}  result")
    for run in RUNS:
        result = results[run] = check(run)
        fits = result.found == (run.violated or "holds")
        looked_for = f"  off: {run.off}" if run.off else PROPERTIES[run.model]
        words = f"violated: {result.found}" if result.found == run.violated else result.found
        row = f"{run.model:9} {run.regions:<7} {looked_for:60} {result.states:9} {result.seconds:5.1f}  {words}"
        print(row, flush=True)
        if not fits:
            surprises.append(f"{run.name}: {result.found}, not {run.violated or 'holds'}")
    for model in PROPERTIES:
        for line in sorted(never_reached(results, model) ^ explained(model)):
            surprises.append(f"{model}.pml:{line} is not reached and does not say why, or says so and is reached")
    for surprise in surprises:
        print(surprise, file=sys.stderr)
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
