"""Drives a model over several regions, with exact sums or with the noise and rounding that encryption adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hefed.statistics import Model, State, Table

EXAMPLES = Path(__file__).parents[2] / "examples"

NOISE_DEVIATIONS = 12
"""Deviations of the opened noise that its bound allows for, as the specification of the encryption does."""


@dataclass
class Sums:
    """Adds up contributions; with `noise_bits` as an encryption whose error stays within 2^(exponent - noise_bits)."""

    noise_bits: int | None = None
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    requests: list[Any] = field(default_factory=list)

    def open(self, request: Any, contributions: Sequence[np.ndarray]) -> np.ndarray:
        self.requests.append(request)
        exponents = request.exponents.astype(np.int64)
        for values in contributions:
            assert (np.abs(values) <= np.ldexp(1.0, exponents)).all()
        if self.noise_bits is None:
            return np.sum(contributions, axis=0)
        # One unit is the smallest step of the encoding; noise of 2^8 units is what 2 of 3 keyholders leave.
        unit = np.ldexp(1.0, exponents - self.noise_bits - 12)
        total = np.sum([np.rint(values / unit) for values in contributions], axis=0)
        total = total + np.rint(self.random.normal(0.0, 2.0**12 / NOISE_DEVIATIONS, len(total)))
        return total * unit


def fit(model: Model[Any], regions: Sequence[Mapping[str, np.ndarray]], sums: Sums | None = None) -> State:
    """The finished state."""
    sums = sums or Sums()
    prepared = [model.prepare(table(columns)) for columns in regions]
    state = model.start()
    while not state.finished:
        contributions = [model.contribution(rows, state) for rows in prepared]
        state = model.step(state, sums.open(model.request(state), contributions))
    return state


def table(columns: Mapping[str, np.ndarray]) -> Table:
    """A region's table."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    return Table(len(next(iter(arrays.values()))), arrays)


def read_csv(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named columns of the rows that have them all."""
    import csv

    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if all(row[name] for name in names)]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def example(folder: str, sites: Sequence[str], names: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """The regions of an example, complete cases."""
    return [read_csv(EXAMPLES / folder / f"{site}.csv", names) for site in sites]


def split(columns: Mapping[str, np.ndarray], sizes: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Rows dealt out in their order to regions of these sizes."""
    ends = np.cumsum(sizes)
    assert ends[-1] == len(next(iter(columns.values())))
    return [
        {name: np.asarray(values)[end - size : end] for name, values in columns.items()}
        for end, size in zip(ends, sizes, strict=True)
    ]
