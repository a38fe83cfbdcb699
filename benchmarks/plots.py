"""Time and bytes against values, from steps.json: plots.py FOLDER. Runs where matplotlib is; needs nothing of hefed."""

import json
import math
import sys
from pathlib import Path

STEPS = ("encode", "encrypt", "pack", "aggregate", "check value", "share answers", "open and decode", "read", "round")
PROFILES = ("compact", "precise")
DRAWN = {"seconds": (1e3, "milliseconds, one thread"), "bytes": (1, "bytes")}
"""What is drawn, as what: factor and words."""


class Missing(Exception):  # noqa: N818  not an error of the program
    """What there is to draw is not there; the words say what."""


def series(steps, step, profile, engine, what):
    """(values, figure) of the cases of one step with three regions, shortest first."""
    return sorted(
        (case["values"], case[what])
        for case in steps
        if (case["step"], case["profile"], case["engine"], case["parties"]) == (step, profile, engine, 3)
        and case[what] is not None
    )


def slope(points):
    """The power of the number of values with which the last two points grow."""
    (x0, y0), (x1, y1) = points[-2:]
    return math.log(y1 / y0) / math.log(x1 / x0)


def lines(steps, profile, what):
    """For each line of a panel: its number, engine, name and points, of which there are two at least."""
    for number, step in enumerate(STEPS):
        for engine in ("vectorised", "tenseal"):
            points = series(steps, step, profile, engine, what)
            if len(points) > 1:
                yield number, engine, step if engine == "vectorised" else f"{step}, engine tenseal", points


def draw(axes, steps, profile, what, scale):
    """One panel: a line a step, with its slope."""
    for number, engine, name, points in lines(steps, profile, what):
        x, y = zip(*points, strict=True)
        style = "o-" if engine == "vectorised" else "s:"
        label = f"{name} ({slope(points):.2f})"
        axes.loglog(x, [scale * one for one in y], style, color=f"C{number}", markersize=4, label=label)
    axes.set(title=f"profile {profile}", xlabel="values")
    if axes.lines:
        axes.grid(alpha=0.3, which="both")
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": 2}
        axes.legend(fontsize=7, title="slope between the two longest", **place)


def read(folder):
    """The steps that were measured. Raises Missing when there are none, or none of two lengths."""
    path = folder / "steps.json"
    if not path.exists():
        raise Missing(f"no steps were measured: there is no {path.name} in {folder}; the part `steps` makes it")
    steps = json.loads(path.read_text())["steps"]
    if not any(list(lines(steps, profile, what)) for profile in PROFILES for what in DRAWN):
        raise Missing(f"{path} has no step of two lengths")
    return steps


def main(folder):
    """Draws what there is, and says so when it is nothing."""
    try:
        steps = read(folder)
    except Missing as missing:
        print(f"there are no plots: {missing}", file=sys.stderr)
        return
    try:
        import matplotlib
    except ModuleNotFoundError:
        print("there are no plots: there is no matplotlib; `make peers` installs it", file=sys.stderr)
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for what, (scale, words) in DRAWN.items():
        figure, panels = plt.subplots(1, 2, figsize=(12, 7.5), sharey=True)
        for axes, profile in zip(panels, PROFILES, strict=True):
            draw(axes, steps, profile, what, scale)
        panels[0].set_ylabel(words)
        figure.tight_layout()
        figure.savefig(folder / f"{what}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
