"""Columns of numbers from a CSV file, exactly as they are written there, or one sentence that says why not.

Relies on pandas (3.1 or later: its default parser rounds each decimal correctly, as `float` does). Fields are separated
by commas, semicolons or tabs; decimals in files with semicolons may have a comma. Must not guess: what is not a number
is an error, not a gap.
"""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hefed.data.source import MAX_ROWS, Floats, Source, check_file, unreadable
from hefed.data.source import DataError as DataError

if TYPE_CHECKING:
    import pandas as pd

MAX_HEADER_CHARACTERS = 1 << 20
SEPARATORS = ",;\t"
FIRST_LINE = 2  # the header is line 1, as a spreadsheet shows it


class CsvFile(Source):
    """A CSV file with a header. Lines are counted with the header as line 1."""

    unit = "line"
    empty = "has a header but no rows; is it the right file?"

    def __init__(self, path: Path, who: str, columns: Mapping[str, str] | None = None) -> None:
        """See `Source`. Raises DataError."""
        super().__init__(who, path.name, columns)
        self._path = path
        check_file(path, who)
        self.separator, self.header = self._read_header()

    def _fetch(self, own: Sequence[str]) -> "pd.DataFrame":
        """The rows that hold anything at all. A column that holds anything but numbers stays as it was read."""
        frame = self._parse(".")
        if self.separator == ";" and _text_columns(frame, own):
            with_comma = self._parse(",")
            if _text_columns(with_comma, own) < _text_columns(frame, own):
                frame = with_comma
        frame.index += FIRST_LINE
        return frame.dropna(how="all")[list(own)]  # without empty lines

    def _floats(self, column: "pd.Series[float]") -> Floats:
        import pandas as pd

        if column.dtype == bool:
            raise self.error(f"column {self.label(column.name)} holds text such as true and false; write 1 and 0")
        if _is_text(column):
            numeric = pd.to_numeric(column, errors="coerce")
            faulty = column.index[numeric.isna() & column.notna()]
            if len(faulty):
                raise self.fault(column.name, "has something other than a number", faulty[0])
            column = numeric
        return column.to_numpy().astype(np.float64)

    def _read_header(self) -> tuple[str, list[str]]:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                line = file.readline(MAX_HEADER_CHARACTERS)
        except OSError as error:
            raise unreadable(self._path, self._who, error) from None
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        if not line.strip():
            raise self.error("is empty, or has an empty first line; the first line must name the columns")
        fields = {separator: next(csv.reader([line], delimiter=separator)) for separator in SEPARATORS}
        separator = max(SEPARATORS, key=lambda candidate: len(fields[candidate]))
        return separator, [name.strip() for name in fields[separator]]

    def _parse(self, decimal: str) -> "pd.DataFrame":
        import pandas as pd

        try:
            # The same text in Python's strings or pyarrow's, whether pyarrow is installed or not.
            with warnings.catch_warnings(), pd.option_context("mode.string_storage", "python"):
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
                    nrows=MAX_ROWS + 1,
                )
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise self.error(f"is not a regular table: {_parser_fault(str(error))}") from None
        except pd.errors.EmptyDataError:
            raise self.error(self.empty) from None
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
