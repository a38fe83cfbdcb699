"""Columns of numbers from a CSV file, exactly as they are written there, or one sentence that says why not.

Relies on pandas (3.1 or later: its default parser rounds each decimal correctly, as `float` does). Fields are separated
by commas, semicolons or tabs; decimals in files with semicolons may have a comma. Must not guess: what is not a number
is an error, not a gap.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hefed.errors import InputError
from hefed.wording import quoted, suggestion

if TYPE_CHECKING:
    import pandas as pd

MAX_HEADER_CHARACTERS = 1 << 20
SEPARATORS = ",;\t"
FIRST_LINE = 2  # the header is line 1, as a spreadsheet shows it

Floats = NDArray[np.float64]


class DataError(InputError):
    """A table that cannot be used; the sentence names the region, the file, the column and the line, never a value."""


class CsvFile:
    """A CSV file with a header, whose columns are read when they are asked for.

    `who` begins each error: "region orebro". Lines are counted with the header as line 1.
    """

    def __init__(self, path: Path, who: str) -> None:
        self._path = path
        self._who = who
        self.separator, self.header = self._read_header()

    def read(self, names: Sequence[str]) -> "pd.DataFrame":
        """The columns `names` of all rows that hold anything at all, indexed by line. Raises DataError.

        A column that holds anything but numbers stays as it was read; `numbers` tells what to do with it.
        """
        self._find(names)
        frame = self._parse(".")
        if self.separator == ";" and _text_columns(frame, names):
            with_comma = self._parse(",")
            if _text_columns(with_comma, names) < _text_columns(frame, names):
                frame = with_comma
        frame.index += FIRST_LINE
        frame = frame.dropna(how="all")  # empty lines
        if frame.empty:
            raise self.error("has a header but no rows; is it the right file?")
        return frame[list(names)]

    def numbers(self, column: "pd.Series[float]") -> Floats:
        """A column of `read` as float64, with NaN where there is nothing. Raises DataError on anything else."""
        import pandas as pd

        name = quoted(column.name)
        if column.dtype == bool:
            raise self.error(f"column {name} holds text such as true and false; write 1 and 0")
        if _is_text(column):
            numeric = pd.to_numeric(column, errors="coerce")
            faulty = column.index[numeric.isna() & column.notna()]
            if len(faulty):
                raise self.error(f"column {name} has something other than a number in line {faulty[0]}; mend it there")
            column = numeric
        values: Floats = column.to_numpy().astype(np.float64)
        infinite = column.index[np.isinf(values)]
        if len(infinite):
            raise self.error(
                f"column {name} has an infinite value in line {infinite[0]}; leave the field empty if unknown"
            )
        return values

    def error(self, what: str) -> DataError:
        """A DataError about this file."""
        return DataError(f"{self._who}: {self._path.name} {what}")

    def _read_header(self) -> tuple[str, list[str]]:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                line = file.readline(MAX_HEADER_CHARACTERS)
        except FileNotFoundError:
            raise DataError(
                f"{self._who}: there is no file {self._path.name} where it should be; check the path"
            ) from None
        except OSError as error:
            raise self.error(f"cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        if not line.strip():
            raise self.error("is empty, or has an empty first line; the first line must name the columns")
        fields = {separator: next(csv.reader([line], delimiter=separator)) for separator in SEPARATORS}
        separator = max(SEPARATORS, key=lambda candidate: len(fields[candidate]))
        return separator, [name.strip() for name in fields[separator]]

    def _find(self, names: Sequence[str]) -> None:
        for name in names:
            count = self.header.count(name)
            if count == 0:
                known = suggestion(name, self.header) or f"; it has {', '.join(map(quoted, self.header[:12]))}"
                raise DataError(f"{self._who}: column {quoted(name)} is missing in {self._path.name}{known}")
            if count > 1:
                raise self.error(f"has {count} columns called {quoted(name)}; rename all but one")

    def _parse(self, decimal: str) -> "pd.DataFrame":
        import pandas as pd

        try:
            with warnings.catch_warnings():
                # One more field than names in every line is only a warning to pandas, and a shifted table to us.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    self._path,
                    sep=self.separator,
                    decimal=decimal,
                    header=None,
                    names=range(len(self.header)),
                    skiprows=1,
                    index_col=False,
                    skip_blank_lines=False,
                    skipinitialspace=True,
                    low_memory=False,
                    compression=None,
                    encoding="utf-8-sig",
                )
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise self.error(f"is not a regular table: {_parser_fault(str(error))}") from None
        except pd.errors.EmptyDataError:
            raise self.error("has a header but no rows; is it the right file?") from None
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        frame.columns = pd.Index(self.header)
        return frame

    def _not_utf8(self) -> DataError:
        return self.error('is not UTF-8 text; save it as "CSV UTF-8"')


def _is_text(column: "pd.Series[float]") -> bool:
    return column.dtype.kind not in "iuf"


def _text_columns(frame: "pd.DataFrame", names: Sequence[str]) -> int:
    return sum(_is_text(frame[name]) for name in names)


def _parser_fault(message: str) -> str:
    detail = message.removeprefix("Error tokenizing data. C error: ").strip()
    if detail.startswith("Expected"):  # "Expected 2 fields in line 3, saw 4": counts only
        return detail[0].lower() + detail[1:] + "; look for a comma inside a number"
    if detail.startswith("EOF inside string"):
        return "a quotation mark is opened and never closed"
    return "its lines have more fields than the header names"
