"""A first model for tables that somebody has, guessed from their columns, with the reasons for what it leaves out.

Relies on `csvfile`. Its guesses are for a person to look at: the file names the columns that were left out, and why.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hefed.data.csvfile import CsvFile
from hefed.data.source import DataError, Floats
from hefed.errors import InputError
from hefed.study import INTERCEPT
from hefed.wording import quoted

EVENTS_PER_COVARIATE = 10  # Peduzzi, Concato, Feinstein, Holford, J Clin Epidemiol 48, 1995
MAX_COVARIATES = 12  # more is for a person to ask for
MOSTLY_MISSING = 0.2  # of the rows of one file
MIN_DISTINCT_TIMES = 3

_TIMES = ("time", "duration", "survival", "followup", "futime", "days", "weeks", "months", "years", "tte")
_EVENTS = ("event", "death", "dead", "died", "status", "relapse", "progression")
_OUTCOMES = (*_EVENTS, "outcome", "disease", "diagnosis", "target", "case", "label", "class", "y")
_IDENTIFIERS = ("id", "identifier", "patient", "pid", "nr", "index")


class DraftError(InputError):
    """Tables from which no study can be guessed."""


@dataclass(frozen=True)
class Column:
    """A column that all files have: its numbers file by file, NaN where missing; no parts if it holds other things."""

    name: str
    parts: tuple[Floats, ...]

    @property
    def values(self) -> Floats:
        """The numbers of all files, one after another."""
        return np.concatenate(self.parts)

    @property
    def missing(self) -> float:
        """The largest part of a file's rows that is missing."""
        return max(float(np.isnan(part).mean()) for part in self.parts)

    @property
    def varies(self) -> bool:
        """Whether any file has two different values."""
        return any(len(np.unique(part[~np.isnan(part)])) > 1 for part in self.parts)

    @property
    def is_indicator(self) -> bool:
        """Whether it is 0 or 1 everywhere, and takes both values."""
        return set(np.unique(self.values).tolist()) == {0.0, 1.0}

    @property
    def is_time(self) -> bool:
        """Whether it could be a time that is known for everybody."""
        values = self.values
        return bool(np.all(values >= 0)) and len(np.unique(values)) >= MIN_DISTINCT_TIMES

    @property
    def is_identifier(self) -> bool:
        """Whether it numbers the rows."""
        return self.has_word(_IDENTIFIERS) or all(
            len(part) > 1 and bool(np.all(np.diff(part) == 1)) for part in self.parts
        )

    def has_word(self, words: Sequence[str]) -> bool:
        """Whether one of the words is part of its name, split at signs and capitals."""
        return any(part.lower() in words for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", self.name))


@dataclass(frozen=True)
class Guess:
    """A model guessed from the columns. `duration` is None for a logistic model; `left_out` tells why, by column."""

    duration: str | None
    response: str
    covariates: tuple[str, ...]
    drop_rows: bool
    left_out: dict[str, str]


def common_columns(paths: Sequence[Path]) -> tuple[list[Column], list[str]]:
    """The columns that all files have, in the order of the first, and the names of those that only some have.

    Raises DataError for a file that cannot be read.
    """
    files = [CsvFile(path, f"table {path}") for path in paths]
    headers = [file.header for file in files]
    usable = [name for name in headers[0] if name and name.isprintable() and all(h.count(name) == 1 for h in headers)]
    if not usable:
        raise DraftError("the tables have no column in common; their first lines must name the columns alike")
    frames = [file.read(usable) for file in files]
    columns = []
    for name in usable:
        try:
            parts = tuple(file.numbers(frame[name]) for file, frame in zip(files, frames, strict=True))
        except DataError:  # a column of text is no fault here: it is left out and listed
            parts = ()
        columns.append(Column(name, parts))
    others = sorted({name for header in headers for name in header if name} - set(usable))
    return columns, others


def guess_model(columns: Sequence[Column]) -> Guess:
    """A Cox model if there are a time and an event, otherwise a logistic model of a 0/1 outcome. Raises DraftError."""
    numeric = [column for column in columns if column.parts]
    indicators = [column for column in numeric if column.is_indicator]
    if not indicators:
        raise DraftError("no column is 0 or 1 in all tables, so nothing can be the event or the outcome; add one")
    times = [column for column in numeric if column.is_time and column.has_word(_TIMES) and not column.is_indicator]
    events = [column for column in indicators if column.has_word(_EVENTS)]
    if times and events:
        duration, response = times[0].name, events[-1]
    else:
        outcomes = [column for column in indicators if column.has_word(_OUTCOMES)]
        duration, response = None, (outcomes or indicators)[-1]
    candidates = [column for column in columns if column.name not in (duration, response.name)]
    return _with_covariates(duration, response, candidates)


def _with_covariates(duration: str | None, response: Column, candidates: Sequence[Column]) -> Guess:
    left_out = {column.name: fault for column in candidates if (fault := _unfit(column))}
    fit = [column for column in candidates if column.name not in left_out]
    complete = [column for column in fit if not column.missing]
    drop_rows = not complete
    left_out |= {column.name: "values are missing" for column in fit if complete and column.missing}
    fit = complete or fit
    if not fit:
        raise DraftError(f"no column of numbers is left to explain {quoted(response.name)}; add one to every table")
    events = (
        int(min(response.values.sum(), (1 - response.values).sum())) if duration is None else int(response.values.sum())
    )
    most = max(1, min(MAX_COVARIATES, events // EVENTS_PER_COVARIATE))
    left_out |= {column.name: f"more than {most} covariates for {events} events" for column in fit[most:]}
    return Guess(duration, response.name, tuple(column.name for column in fit[:most]), drop_rows, left_out)


def _unfit(column: Column) -> str | None:
    if not column.parts:
        return "not only numbers"
    if column.is_identifier:
        return "looks like a number of the row"
    if not column.varies:
        return "varies in no table"
    if column.missing > MOSTLY_MISSING:
        return "mostly missing in a table" if column.missing > 0.5 else "values are missing"
    return "is the name of the intercept" if column.name == INTERCEPT else None
