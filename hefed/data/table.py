"""A region's table as a study needs it: complete rows of numbers, checked against the model, and a commitment to them.

Relies on `source` and on the connectors. Must not say a value in an error, and must not change a number: times stay as
they were read.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hefed.data.connectors import open_source
from hefed.data.csvfile import CsvFile
from hefed.data.settings import DataSettings
from hefed.data.source import Floats, Source
from hefed.study import Cox, Logistic, Study
from hefed.wording import counted

SALT_BYTES = 32

Mask = NDArray[np.bool_]
Lines = NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class LocalTable:
    """Patients of one region: each column of the model, float64 of shape (rows,), finite and read-only.

    A database has no order of rows, so they are sorted: the same patients are the same bits, however they were kept.
    `dropped` is the number of rows left out because a value was missing in one of the columns, `duplicates` of those
    kept that are the same as another one before in every column of the model.
    """

    columns: Mapping[str, Floats]
    rows: int
    dropped: int
    duplicates: int

    def events(self, model: Logistic | Cox) -> int:
        """How many rows have the event or the outcome."""
        return int(self.columns[model.responses[-1]].sum())


def load_table(data: Path | DataSettings, study: Study, region: str) -> LocalTable:
    """The columns of the study's model from a CSV file or from what a region's settings name.

    Raises DataError, which begins with the region's name.
    """
    who = f"region {region}"
    with CsvFile(data, who) if isinstance(data, Path) else open_source(data, who) as source:
        return _read(source, study.model)


def commitment(columns: Mapping[str, Floats], salt: bytes) -> bytes:
    """SHA-256 that binds to a table and, with a secret random salt of 32 bytes, hides it.

    Over the salt and, by sorted names: length and UTF-8 of the name, number of rows, values; all numbers of 64 bits,
    little-endian.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"the salt of a commitment has {SALT_BYTES} bytes, not {len(salt)}")
    digest = hashlib.sha256(b"hefed/1 table commitment" + salt)
    for name in sorted(columns):
        text, values = name.encode(), columns[name]
        digest.update(struct.pack("<Q", len(text)) + text + struct.pack("<Q", len(values)))
        digest.update(np.ascontiguousarray(values, dtype="<f8").data)
    return digest.digest()


def _read(source: Source, model: Logistic | Cox) -> LocalTable:
    frame = source.read(model.columns)
    lines = frame.index.to_numpy()
    columns = {name: source.numbers(frame[name]) for name in model.columns}
    complete = _complete_rows(source, columns, model.missing)
    _check_indicator(source, columns, model.responses[-1], lines)
    if isinstance(model, Cox):
        _check_duration(source, columns, model.duration, lines)
    kept = _sorted({name: values[complete] for name, values in columns.items()})
    rows = int(complete.sum())
    return LocalTable(kept, rows, len(lines) - rows, _duplicates(kept, rows))


def _sorted(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    # By bits rather than numbers: 0.0 and -0.0 are equal numbers, and so would have no order of their own.
    keys = [values.view(np.int64) for values in reversed(list(columns.values()))]
    order = np.lexsort(keys)
    ordered = {name: np.ascontiguousarray(values[order]) for name, values in columns.items()}
    for values in ordered.values():
        values.flags.writeable = False
    return ordered


def _duplicates(columns: Mapping[str, Floats], rows: int) -> int:
    same = np.ones(rows - 1, dtype=np.bool_)
    for values in columns.values():
        same &= values[1:] == values[:-1]
    return int(same.sum())


def _complete_rows(source: Source, columns: Mapping[str, Floats], policy: str) -> Mask:
    gaps = {name: np.isnan(values) for name, values in columns.items()}
    counts = {name: int(gap.sum()) for name, gap in gaps.items() if gap.any()}
    complete: Mask = ~np.logical_or.reduce(list(gaps.values()))
    if counts and policy == "refuse":
        listed = ", ".join(f"{source.label(name)} in {counted(count, 'row')}" for name, count in counts.items())
        raise source.error(f'has missing values: {listed}; fill them, or set missing = "drop-rows" in [model]')
    empty = [name for name, count in counts.items() if count == len(complete)]
    if empty:
        raise source.error(f"has no value at all in column {source.label(empty[0])}; leave it out of the model")
    if not complete.any():
        raise source.error(
            "has no row with a value in every column of the model; leave out the columns that are mostly missing"
        )
    return complete


def _check_indicator(source: Source, columns: Mapping[str, Floats], name: str, lines: Lines) -> None:
    values = columns[name]
    faulty = lines[~(np.isnan(values) | (values == 0) | (values == 1))]
    if len(faulty):
        raise source.fault(name, "must be 0 or 1 and is something else", faulty[0])


def _check_duration(source: Source, columns: Mapping[str, Floats], name: str, lines: Lines) -> None:
    faulty = lines[columns[name] < 0]
    if len(faulty):
        raise source.fault(name, "has a negative time", faulty[0])
