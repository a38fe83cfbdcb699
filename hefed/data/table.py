"""A region's table as a study needs it: complete rows of numbers, checked against the model, and a commitment to them.

Relies on `csvfile`. Must not say a value in an error, and must not change a number: times stay as they were parsed.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hefed.data.csvfile import CsvFile, Floats
from hefed.study import Cox, Logistic, Study
from hefed.wording import counted, quoted

SALT_BYTES = 32

Mask = NDArray[np.bool_]
Lines = NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class LocalTable:
    """Patients of one region: each column of the model, float64 of shape (rows,), finite and read-only.

    `dropped` is the number of rows left out because a value was missing in one of the columns.
    """

    columns: Mapping[str, Floats]
    rows: int
    dropped: int

    def events(self, model: Logistic | Cox) -> int:
        """How many rows have the event or the outcome."""
        return int(self.columns[model.responses[-1]].sum())


def load_table(path: Path, study: Study, region: str) -> LocalTable:
    """The columns of the study's model from a CSV file. Raises DataError, which begins with the region's name."""
    model = study.model
    file = CsvFile(path, f"region {region}")
    frame = file.read(model.columns)
    lines = frame.index.to_numpy()
    columns = {name: file.numbers(frame[name]) for name in model.columns}
    complete = _complete_rows(file, columns, model.missing)
    _check_indicator(file, columns, model.responses[-1], lines)
    if isinstance(model, Cox):
        _check_duration(file, columns, model.duration, lines)
    kept = {name: np.ascontiguousarray(values[complete]) for name, values in columns.items()}
    for values in kept.values():
        values.flags.writeable = False
    rows = int(complete.sum())
    return LocalTable(kept, rows, len(lines) - rows)


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


def _complete_rows(file: CsvFile, columns: Mapping[str, Floats], policy: str) -> Mask:
    gaps = {name: np.isnan(values) for name, values in columns.items()}
    counts = {name: int(gap.sum()) for name, gap in gaps.items() if gap.any()}
    complete: Mask = ~np.logical_or.reduce(list(gaps.values()))
    if counts and policy == "refuse":
        listed = ", ".join(f"{quoted(name)} in {counted(count, 'row')}" for name, count in counts.items())
        raise file.error(f'has missing values: {listed}; fill them, or set missing = "drop-rows" in [model]')
    empty = [name for name, count in counts.items() if count == len(complete)]
    if empty:
        raise file.error(f"has no value at all in column {quoted(empty[0])}; leave it out of the model")
    if not complete.any():
        raise file.error(
            "has no row with a value in every column of the model; leave out the columns that are mostly missing"
        )
    return complete


def _check_indicator(file: CsvFile, columns: Mapping[str, Floats], name: str, lines: Lines) -> None:
    values = columns[name]
    faulty = lines[~(np.isnan(values) | (values == 0) | (values == 1))]
    if len(faulty):
        raise file.error(
            f"column {quoted(name)} must be 0 or 1 and is something else in line {faulty[0]}; mend it there"
        )


def _check_duration(file: CsvFile, columns: Mapping[str, Floats], name: str, lines: Lines) -> None:
    faulty = lines[columns[name] < 0]
    if len(faulty):
        raise file.error(f"column {quoted(name)} has a negative time in line {faulty[0]}; mend it there")
