"""Sums over risk sets, and what tied events make of them.

The risk set at time t holds the patients whose time is at least t, those censored at t included. Relies on rows sorted
by time once; every sum is then a cumulative sum over groups of rows, and nothing loops over events.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from hefed.statistics.arithmetic import Float, Int
from hefed.statistics.errors import LocalError
from hefed.statistics.model import Prepared, Specification, Table

LARGEST_MOVE: Final = 4.0
"""Largest change of a linear predictor by one coefficient in one step of a Cox fit. Hazards grow exponentially, so that
Newton's first steps overshoot where a few patients have extreme values, to points at which hardly anybody else counts.
Changes of hazard by a factor of at most exp(4) rarely do, and take hardly more steps in all."""

Ties = Literal["breslow", "efron"]


@dataclass(frozen=True, eq=False)
class TieTerms:
    """For each distinct event time k, sums over its denominators, with S the risk set's sum and D that of its events.

    Denominator l of the d_k is S_k - a_l D_k, with a_l = l / d_k, l = 0 .. d_k - 1 (Efron, JASA 1977), or a_l = 0
    (Breslow, Biometrics 1974).

    Attributes:
        first, first_a: (K,) sums over l of 1/. and a/. .
        second, second_a, second_aa: (K,) sums over l of 1/.^2, a/.^2 and a^2/.^2.
        denominators, multiplicity: (m,) all of them, and how often each occurs.
    """

    first: Float
    first_a: Float
    second: Float
    second_a: Float
    second_aa: Float
    denominators: Float
    multiplicity: Int


def tie_terms(risk: Float, events: Float, deaths: Int, ties: Ties) -> TieTerms:
    """Those sums from S (K,), D (K,; not used for Breslow) and d (K,), with the same bits on every machine.

    Requires S > a D throughout, as positive weights give.
    """
    if ties == "breslow":
        first = deaths / risk
        second = first / risk
        zero = np.zeros(len(deaths))
        return TieTerms(first, zero, second, zero, zero, risk, deaths)
    time = np.repeat(np.arange(len(deaths)), deaths)
    position = np.arange(len(time)) - np.repeat(np.cumsum(deaths) - deaths, deaths)
    a = position / deaths[time]
    denominator = risk[time] - a * events[time]
    inverse = 1.0 / denominator
    square = inverse * inverse
    size = len(deaths)
    return TieTerms(
        add_by_index(inverse, time, size),
        add_by_index(a * inverse, time, size),
        add_by_index(square, time, size),
        add_by_index(a * square, time, size),
        add_by_index(a * a * square, time, size),
        denominator,
        np.ones(len(time), dtype=np.int64),
    )


def add_by_index(values: Float, index: npt.NDArray[np.intp], size: int) -> Float:
    """(size,): the sum of the values with each index, added one after the other."""
    return np.bincount(index, weights=values, minlength=size).astype(np.float64)


class RiskSets:
    """Sums over the risk sets at a grid (K,) of rising times, for rows (n,) sorted by time, some of them events.

    Rows fall into 2K + 1 groups that follow on each other: those before the first time of the grid, and for each time
    the events at it, then all others until the next one. Everything is a sum over groups, or the same within a group.
    """

    def __init__(self, times: Float, is_event: npt.NDArray[np.bool_], grid: Float) -> None:
        """Every event must have its time on the grid, and stand before the other rows of its time."""
        self.size = len(grid)
        group = 2 * np.searchsorted(grid, times, side="right") - is_event
        self._lengths = np.bincount(group, minlength=2 * self.size + 1)
        self.deaths: Int = self._lengths[1::2].astype(np.int64)
        self._groups = np.flatnonzero(self._lengths)
        self._starts = (np.cumsum(self._lengths) - self._lengths)[self._groups]
        self._parts: dict[tuple[int, int], tuple[Int, Int]] = {}

    def at_risk(self, sums: Float) -> Float:
        """(.., K): sums over the rows at risk from those over groups (.., 2K + 1)."""
        between = sums[..., 1::2] + sums[..., 2::2]
        return np.cumsum(between[..., ::-1], axis=-1)[..., ::-1]

    def having_event(self, sums: Float) -> Float:
        """(.., K): sums over the rows that have their event from those over groups (.., 2K + 1)."""
        return sums[..., 1::2]

    def sums(self, values: Float) -> Float:
        """(2K + 1,): sums of `values` (n,) over groups."""
        total = self.no_sums(())
        self.add(total, values, slice(0, len(values)))
        return total

    def no_sums(self, shape: tuple[int, ...]) -> Float:
        """(.., 2K + 1): zeros."""
        return np.zeros((*shape, len(self._lengths)))

    def add(self, total: Float, values: Float, rows: slice) -> None:
        """Add to `total` (.., 2K + 1) the sums of the `values` of some rows (.., rows.stop - rows.start)."""
        groups, starts = self._part(rows)
        total[..., groups] += np.add.reduceat(values, starts, axis=-1)

    def _part(self, rows: slice) -> tuple[Int, Int]:
        """The groups to which rows that follow on each other belong, and where each starts among them."""
        key = (rows.start, rows.stop)
        if key not in self._parts:
            first = int(np.searchsorted(self._starts, rows.start, side="right")) - 1
            last = int(np.searchsorted(self._starts, rows.stop))
            self._parts[key] = (self._groups[first:last], np.maximum(self._starts[first:last] - rows.start, 0))
        return self._parts[key]

    def expected_events(self, weights: Float, ties: Ties) -> tuple[TieTerms, Float]:
        """The sums over denominators, and the events expected of each row (n,): weight times cumulative hazard."""
        sums = self.sums(weights)
        terms = tie_terms(self.at_risk(sums), self.having_event(sums), self.deaths, ties)
        hazard = np.repeat(np.concatenate(([0.0], np.cumsum(terms.first))), 2)[1:]
        hazard[1::2] -= terms.first_a
        expected = np.repeat(hazard, self._lengths)
        expected *= weights
        return terms, expected


class CoxRows(Prepared):
    """A region's table for Cox regression, sorted by time.

    Attributes:
        times, is_event: (n,) sorted, at each time events first.
        risk_sets: at the region's own distinct event times.
    """

    def __init__(self, table: Table, specification: Specification, duration: str, event: str) -> None:
        times = table.column(duration)
        if not (times >= 0).all():
            raise LocalError(f"column {duration!r} has negative times")
        has_event = table.indicator(event)
        order = np.lexsort((~has_event, times))
        self.times = times[order]
        self.is_event = has_event[order]
        self.risk_sets = RiskSets(self.times, self.is_event, self.event_times())
        self._pooled: tuple[Float, RiskSets] | None = None
        events = int(self.is_event.sum())
        super().__init__(table, specification.covariates, events, events, order, specification.limits)

    def event_times(self) -> Float:
        """Distinct times of the region's events, rising."""
        return np.unique(self.times[self.is_event])

    def pooled_risk_sets(self, grid: Float) -> RiskSets:
        """At the event times of all regions, kept from round to round. LocalError if an own event is not among them."""
        if self._pooled is None or not np.array_equal(self._pooled[0], grid):
            if not np.isin(self.event_times(), grid).all():
                raise LocalError("an event of this region is missing from the opened event times")
            self._pooled = (grid, RiskSets(self.times, self.is_event, grid))
        return self._pooled[1]
