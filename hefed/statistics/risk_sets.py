"""Sums over risk sets, and what tied events make of them.

The risk set at time t holds the patients whose time is at least t, those censored at t included. Relies on rows sorted
by time once; every sum is then a cumulative sum, and nothing loops over events.
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
    """Sums over the risk sets at a grid (K,) of rising times, for rows (n,) sorted by time, some of them events."""

    def __init__(self, times: Float, is_event: npt.NDArray[np.bool_], grid: Float) -> None:
        """Every event must have its time on the grid."""
        self.size = len(grid)
        self.event_rows = np.flatnonzero(is_event)
        self.event_index = np.searchsorted(grid, times[self.event_rows])
        self.deaths: Int = np.bincount(self.event_index, minlength=self.size).astype(np.int64)
        self._passed = np.searchsorted(grid, times, side="right")  # times of the grid at which a row is at risk

    def at_risk(self, values: Float) -> Float:
        """(K,): the sum of `values` (n,) over the rows at risk."""
        between = add_by_index(values, self._passed, self.size + 1)[1:]
        return np.cumsum(between[::-1])[::-1]

    def having_event(self, values: Float) -> Float:
        """(K,): the sum of `values` (n,) over the rows that have their event."""
        return add_by_index(values[self.event_rows], self.event_index, self.size)

    def expected_events(self, weights: Float, ties: Ties) -> tuple[TieTerms, Float]:
        """The sums over denominators, and the events expected of each row (n,): weight times cumulative hazard."""
        terms = tie_terms(self.at_risk(weights), self.having_event(weights), self.deaths, ties)
        expected = self.accumulated(terms.first)
        expected[self.event_rows] -= terms.first_a[self.event_index]
        expected *= weights
        return terms, expected

    def accumulated(self, terms: Float) -> Float:
        """(n,): for each row the sum of `terms` (K,) over the times at which it is at risk."""
        return np.concatenate(([0.0], np.cumsum(terms)))[self._passed]


class CoxRows(Prepared):
    """A region's table for Cox regression, sorted by time.

    Attributes:
        times, is_event: (n,) sorted.
        risk_sets: at the region's own distinct event times.
    """

    def __init__(self, table: Table, specification: Specification, duration: str, event: str) -> None:
        times = table.column(duration)
        if not (times >= 0).all():
            raise LocalError(f"column {duration!r} has negative times")
        order = np.argsort(times, kind="stable")
        self.times = times[order]
        self.is_event = table.indicator(event)[order]
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
