"""Time and bytes against values, from steps.json: plots.py FOLDER. Runs where matplotlib is; needs nothing of hefed."""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STEPS = ("encode", "encrypt", "pack", "aggregate", "check value", "share answers", "open and decode", "read", "round")


def series(steps, step, profile, engine, what):
    """(values, figure) of the cases of one step with three regions, shortest first."""
    return sorted(
        (case["values"], case[what])
        for case in steps
        if (case["step"], case["profile"], case["engine"], case["parties"]) == (step, profile, engine, 3)
        and case[what] is not None
    )


def slope(points):
    """The power of the number of values with which the last tenfold grows."""
    (x0, y0), (x1, y1) = points[-2:]
    return math.log(y1 / y0) / math.log(x1 / x0)


def draw(axes, steps, profile, what, scale):
    """One panel: a line a step, with its slope."""
    for number, step in enumerate(STEPS):
        for engine, style in (("vectorised", "o-"), ("tenseal", "s:")):
            points = series(steps, step, profile, engine, what)
            if len(points) < 2:
                continue
            name = step if engine == "vectorised" else f"{step}, engine tenseal"
            x, y = zip(*points, strict=True)
            label = f"{name} ({slope(points):.2f})"
            axes.loglog(x, [scale * one for one in y], style, color=f"C{number}", markersize=4, label=label)
    axes.set(title=f"profile {profile}", xlabel="values")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, title="slope of the last tenfold")


def main(folder):
    steps = json.loads((folder / "steps.json").read_text())["steps"]
    for what, scale, words in (("seconds", 1e3, "milliseconds, one thread"), ("bytes", 1, "bytes")):
        figure, panels = plt.subplots(1, 2, figsize=(12, 6), sharey=True)
        for axes, profile in zip(panels, ("compact", "precise"), strict=True):
            draw(axes, steps, profile, what, scale)
        panels[0].set_ylabel(words)
        figure.tight_layout()
        figure.savefig(folder / f"{what}.png", dpi=110, metadata={"Software": None})


main(Path(sys.argv[1]))
