"""What the page of figures is written with: numbers, Markdown tables, and the cases of `steps.json`."""

import math
from typing import Any

TYPICAL = 1_000_000
"""Values of the round that the page takes apart."""


class Steps:
    """The cases of `steps.json`."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self._steps = steps

    def find(self, step: str, values: int, profile: str, parties: int = 3, engine: str = "vectorised") -> Any:
        """The case, or None."""
        wanted = {"step": step, "values": values, "profile": profile, "parties": parties, "engine": engine}
        return next((case for case in self._steps if wanted.items() <= case.items()), None)

    def milliseconds(self, step: str, values: int, profile: str, **others: Any) -> str:
        """For a table."""
        case = self.find(step, values, profile, **others)
        return "" if case is None else number(1e3 * case["seconds"])

    def slope(self, step: str, profile: str, engine: str = "vectorised") -> float | None:
        """Of the time of a step with three regions against values, between its two longest cases."""
        cases = (self.find(step, values, profile, engine=engine) for values in self.lengths)
        return slope([(case["values"], case["seconds"]) for case in cases if case is not None])

    @property
    def longest(self) -> int:
        """Values of the round that is taken apart, or of the longest that was measured."""
        lengths = {case["values"] for case in self._steps if case["step"] == "round"}
        return TYPICAL if TYPICAL in lengths else max(lengths)

    @property
    def lengths(self) -> list[int]:
        """All numbers of values."""
        return sorted({case["values"] for case in self._steps if case["step"] == "round"})

    @property
    def parties(self) -> list[int]:
        """All numbers of regions."""
        return sorted({case["parties"] for case in self._steps if case["step"] == "round"})


def slope(points: list[tuple[float, float]]) -> float | None:
    """The power of the number of values with which the last two points grow."""
    if len(points) < 2:
        return None
    (x0, y0), (x1, y1) = points[-2:]
    return math.log(y1 / y0) / math.log(x1 / x0)


def number(value: float) -> str:
    """Three digits, without a power of ten."""
    if value == 0:
        return "0"
    text = f"{value:.3g}"
    return f"{float(text):,.0f}" if abs(value) >= 100 else f"{float(text):g}"


def rows(*lines: tuple[object, ...]) -> str:
    """A Markdown table; the first line is its head."""
    head, *rest = ("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
