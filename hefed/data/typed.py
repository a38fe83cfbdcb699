"""Columns whose values already have a type: every number becomes the float64 that is the same number, or is refused.

Relies on pandas. Numbers are integers, booleans (1 and 0), binary floating point, and decimals. A decimal becomes the
nearest float64 if the shortest decimal of that float64 is the same number again, as it is up to 15 significant digits.
Must not turn text into numbers, whatever it looks like.
"""

import operator
from decimal import Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hefed.data.source import Floats, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_EXACT_INTEGER = 2**53
"""Up to this size every integer is a float64."""

_NUMBERS = frozenset({bool, int, float, Decimal})


class TypedSource(Source):
    """A source of typed columns: numpy's and pandas' numbers, with or without gaps, or Python objects."""

    def _floats(self, column: "pd.Series[float]") -> Floats:
        known = column.notna().to_numpy()
        floats = np.full(len(column), np.nan)
        floats[known] = self._exactly(column[known])
        return floats

    def _exactly(self, column: "pd.Series[float]") -> Floats:
        values: NDArray[Any] = column.to_numpy()
        if values.dtype.kind in "iu" and bool(np.any((values > MAX_EXACT_INTEGER) | (values < -MAX_EXACT_INTEGER))):
            values = values.astype(object)
        if values.dtype.kind in "biuf":
            return values.astype(np.float64)
        objects = values.tolist()
        if values.dtype.kind != "O" or not _NUMBERS.issuperset(map(type, objects)):
            raise self._not_a_number(column, objects)
        floats, exact = nearest(objects)
        if not exact.all():
            row = column.index[int(np.argmin(exact))]
            raise self.fault(
                column.name, "has a number of more digits than a float64 holds", row, "round it or leave it out"
            )
        return floats

    def _not_a_number(self, column: "pd.Series[float]", objects: "Sequence[object]") -> Exception:
        numeric = np.fromiter(map(_NUMBERS.__contains__, map(type, objects)), dtype=bool, count=len(objects))
        row = column.index[int(np.argmin(numeric))]
        return self.fault(column.name, "has something other than a number", row, "store the column as numbers")


def nearest(numbers: "Sequence[bool | int | float | Decimal]") -> tuple[Floats, NDArray[np.bool_]]:
    """The nearest float64 of each number, and whether nothing is lost by it."""
    count = len(numbers)
    listed = list(map(float, map(Decimal, numbers)))  # an int beyond float64 is an OverflowError, its Decimal infinite
    exact = np.fromiter(map(operator.eq, listed, numbers), dtype=bool, count=count)
    rest = np.flatnonzero(~exact).tolist()
    if rest:
        wanted = [numbers[position] for position in rest]
        shortest = map(Decimal, map(repr, map(listed.__getitem__, rest)))
        same = map(operator.eq, shortest, wanted)
        decimal = map(operator.is_, map(type, wanted), repeat(Decimal))
        exact[rest] = np.fromiter(map(operator.and_, same, decimal), dtype=bool, count=len(rest))
    return np.array(listed, dtype=np.float64), exact
