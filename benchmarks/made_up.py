"""Made-up patients for the fits: so many rows in three regions, twenty covariates, times in days with many ties.

Event times are whole days up to 1,500, when everybody who is left is censored; a third of the covariates are 0 or 1.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

REGIONS = ("east", "north", "west")
COVARIATES = tuple(f"x{i:02d}" for i in range(20))
LAST_DAY = 1500
DEADLINE = 3600
"""Seconds that a study may take."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Patients:
    """The pooled table: x (rows, 20), day and event for a Cox model, outcome for a logistic one, region 0..2."""

    x: Floats
    day: Floats
    event: Floats
    outcome: Floats
    region: npt.NDArray[np.int64]

    @classmethod
    def make(cls, rows: int, seed: int = 20) -> "Patients":
        """The same rows for the same seed."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((rows, len(COVARIATES))).round(2)
        x[:, ::3] = x[:, ::3] > 0.5
        beta = rng.normal(0, 0.25, len(COVARIATES))
        region = np.arange(rows) * len(REGIONS) // rows
        eta = (x - x.mean(axis=0)) @ beta
        days = np.ceil(rng.exponential(2500.0 / (1 + 0.2 * region)) * np.exp(-eta))
        outcome = rng.random(rows) < 1 / (1 + np.exp(1.0 - eta))
        event = (days <= LAST_DAY).astype(float)
        return cls(x, np.minimum(days, LAST_DAY), event, outcome.astype(float), region)

    def write_regions(self, folder: Path) -> None:
        """One CSV file a region: the covariates, day, event, outcome."""
        for number, name in enumerate(REGIONS):
            mine = self.region == number
            columns = {c: pa.array(self.x[mine, i]) for i, c in enumerate(COVARIATES)}
            columns |= {c: pa.array(getattr(self, c)[mine].astype(np.int32)) for c in ("day", "event", "outcome")}
            csv.write_csv(pa.table(columns), folder / f"{name}.csv")

    def write_pooled(self, path: Path) -> None:
        """For the peers, who read it from a NumPy file."""
        np.savez(path, x=self.x, day=self.day, event=self.event, outcome=self.outcome, region=self.region.astype(float))


def study(kind: str) -> str:
    """The study file of a `cox` or `logistic` fit, beside the tables of the regions."""
    model = {
        "cox": 'kind = "cox"\nduration = "day"\nevent = "event"\nties = "efron"\nbaseline = "per-region"',
        "logistic": 'kind = "logistic"\noutcome = "outcome"',
    }[kind]
    covariates = ", ".join(f'"{name}"' for name in COVARIATES)
    regions = "".join(f'[regions.{name}]\ndata = "{name}.csv"\n' for name in REGIONS)
    return (
        f'[study]\nid = "made-up-{kind}"\npurpose = "what a fit costs"\n'
        f'[model]\n{model}\ncovariates = [{covariates}]\nmissing = "refuse"\nridge = 0.0\n'
        f'[security]\nthreshold = 2\nmin_contributors = 3\nprofile = "compact"\ndeadline = "{DEADLINE} s"\n'
        f"{regions}"
    )
