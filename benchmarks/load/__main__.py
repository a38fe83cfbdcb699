"""What an aggregator needs, and how it grows with regions and values: `make load`, or python -m benchmarks.load.

Prints tables and writes the figures, with what machine they are from, as JSON. Times are for comparison within one run
only: all regions compute on this one machine, so a study's own time is mostly the time that the cores take for hundreds
of regions at once. Processor seconds, memory and bytes are each party's own.
"""

import argparse
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import hefed
from benchmarks.load.run import Case, Measured, Party, measure

SERIES = {
    "more regions, short vectors": ("25x231", "50x231", "100x231", "200x231"),
    "more regions, long vectors": ("5x1000000", "10x1000000", "20x1000000"),
    "longer vectors": ("20x10000", "20x100000", "20x1000000"),
}
"""What grows in each: contributors x values."""
CONTRIBUTORS, VALUES = "contributors", "values"


def main() -> None:
    """Runs the cases, prints what they took and how it grows, and writes it down."""
    parser = argparse.ArgumentParser(description="What an aggregator needs, and how it grows.")
    parser.add_argument("--case", action="append", help="contributors x values, e.g. 200x231 (default: all series)")
    parser.add_argument("--rounds", type=int, default=2, help="after the known answer")
    parser.add_argument("--profile", choices=("precise", "compact"), default="precise")
    parser.add_argument("--engine", choices=("tenseal", "vectorised"), default="tenseal")
    parser.add_argument("--out", type=Path, default=Path("load.json"), help="where the figures go")
    options = parser.parse_args()
    others = {"rounds": options.rounds, "profile": options.profile, "engine": options.engine}
    series = {"": tuple(options.case)} if options.case else SERIES
    console = Console(width=None if sys.stdout.isatty() else 120)
    measured: dict[str, Measured] = {}
    for words in dict.fromkeys(words for cases in series.values() for words in cases):
        console.print(f"{time.strftime('%H:%M:%S')}  {words} ...")
        measured[words] = _measured(Case.of(words, **others))
    for title, cases in series.items():
        show(console, title, [measured[words] for words in cases])
    write(options.out, list(measured.values()))
    console.print(f"\n{machine_words()}; the figures are in {options.out}")


def _measured(case: Case) -> Measured:
    folder = Path(tempfile.mkdtemp(prefix="hefed-load-"))
    try:
        return measure(case, folder / "parties")
    finally:
        shutil.rmtree(folder)


def machine() -> dict[str, Any]:
    """What the figures are from."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "hefed": hefed.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def machine_words() -> str:
    """The same in a line."""
    known = machine()
    return (
        f"hefed {known['hefed']}, Python {known['python']}, {known['cores']} cores of {known['processor']}, "
        f"{known['memory'] / 2**30:.0f} GiB"
    )


def write(path: Path, measured: list[Measured]) -> None:
    """All figures, unrounded."""
    content = {"machine": machine(), "cases": [one.plain() for one in measured]}
    path.write_text(json.dumps(content, indent=2) + "\n")


def show(console: Console, title: str, measured: list[Measured]) -> None:
    """Tables of a series: the study, the aggregator, a contributor, a keyholder; and how each figure grows."""
    console.print()
    study: dict[str, Callable[[Measured], float]] = {
        "messages": lambda one: one.messages,
        "set-up s": lambda one: sum(s.seconds for s in one.stages if s.name in ("approvals", "keys", "cohort")),
        "round s": lambda one: one.last_round.seconds,
        "whole s": lambda one: one.seconds,
        "broken connections": lambda one: one.broken,
        "aggregator's CPU s a round": lambda one: one.last_round.aggregator_cpu,
    }
    _table(console, f"{title}: the study".removeprefix(": "), measured, study)
    parties: dict[str, Callable[[Measured], Party]] = {
        "the aggregator": lambda one: one.aggregator,
        "a contributor (and reader)": lambda one: one.contributor,
        "a keyholder that contributes": lambda one: one.keyholder,
    }
    for name, of in parties.items():
        _table(console, name, measured, _figures(of))


def _figures(of: Callable[[Measured], Party]) -> dict[str, Callable[[Measured], float]]:
    return {
        "CPU s": lambda one: of(one).cpu,
        "peak memory MB": lambda one: of(one).peak / 1e6,
        "received MB": lambda one: of(one).received / 1e6,
        "sent MB": lambda one: of(one).sent / 1e6,
        "on disk MB": lambda one: of(one).disk / 1e6,
    }


def _table(
    console: Console, title: str, measured: list[Measured], figures: dict[str, Callable[[Measured], float]]
) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in (CONTRIBUTORS, VALUES, *figures):
        table.add_column(heading, justify="right")
    for one in measured:
        cells = (_rounded(figure(one)) for figure in figures.values())
        table.add_row(str(one.case.contributors), f"{one.case.values:,}", *cells)
    if len(measured) > 1:
        table.add_section()
        what, grown = growth(measured, figures)
        table.add_row(f"grows with {what} as", "", *("" if math.isnan(power) else f"n^{power:.1f}" for power in grown))
    console.print(table)


def growth(measured: list[Measured], figures: dict[str, Callable[[Measured], float]]) -> tuple[str, list[float]]:
    """What differs between the cases, and the power of it by which each figure grew at the end."""
    before, after = measured[-2:]
    what = CONTRIBUTORS if before.case.contributors != after.case.contributors else VALUES
    step = math.log(getattr(after.case, what) / getattr(before.case, what))
    pairs = [(figure(before), figure(after)) for figure in figures.values()]
    return what, [math.log(now / was) / step if now > 0 < was else math.nan for was, now in pairs]


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
