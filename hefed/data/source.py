"""A region's table as it lies somewhere, column by column: what the connectors have in common.

Relies on nothing but names and pandas' frames. Must not say a value in an error: errors name the region, the table, the
column and the number of a line or row. Must not guess: what is not a number is an error, not a gap.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hefed.errors import InputError
from hefed.wording import quoted, suggestion

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 20_000_000  # more patients than a region has; every connector stops reading there

_LISTED_NAMES = 12

Floats = NDArray[np.float64]


class DataError(InputError):
    """A table that cannot be used; the sentence names the region, the table, the column and the line, never a value.

    `aside` follows for the region's own people: what else is in the table, such as the names in a header, which are a
    patient's values where the header is missing. `public` is the sentence without it.
    """

    def __init__(self, public: str, aside: str = "") -> None:
        super().__init__(public + aside)
        self.public = public


class Source(ABC):
    """A table whose columns are read when they are asked for, by the names that the study gives them.

    Open from the start; to be closed, or used in a `with` statement. `header` holds the names of all columns as they
    are there. Lines or rows are counted as a person would who looks at the table: see `unit`.
    """

    unit: ClassVar[str] = "row"
    empty: ClassVar[str] = "has no rows; is it the right table?"
    header: Sequence[str]

    def __init__(self, who: str, where: str, columns: Mapping[str, str] | None = None) -> None:
        """`who` begins each error: "region orebro". `where` names the table. `columns` maps names of the study to names
        in the table; a name that it leaves out is the same in both.
        """
        self._who, self._where, self._columns = who, where, columns or {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - a CSV file is closed as soon as it has been read
        """Lets go of files and connections. What was read stays usable."""

    def read(self, names: Sequence[str]) -> "pd.DataFrame":
        """The columns that the study calls `names`, as they are, of all rows, indexed by line or row. Raises DataError.

        `numbers` tells what to do with each.
        """
        own = [self._columns.get(name, name) for name in names]
        self._find(names, own)
        frame = self._fetch(own)
        if frame.empty:
            raise self.error(self.empty)
        if len(frame) > MAX_ROWS:
            raise self.too_long()
        frame.columns = list(names)
        return frame

    def numbers(self, column: "pd.Series[float]") -> Floats:
        """A column of `read` as float64, with NaN where there is nothing. Raises DataError on anything else."""
        values = self._floats(column)
        infinite = column.index[np.isinf(values)]
        if len(infinite):
            raise self.fault(column.name, "has an infinite value", infinite[0], "leave the field empty if unknown")
        return values

    def too_long(self) -> DataError:
        """The DataError about a table of more than MAX_ROWS rows."""
        return self.error(f"has more than {MAX_ROWS} rows, which is more than hefed reads; is it the right table?")

    def error(self, what: str) -> DataError:
        """A DataError about this table."""
        return DataError(f"{self._who}: {self._where} {what}")

    def fault(self, name: object, what: str, number: object, remedy: str = "mend it there") -> DataError:
        """A DataError about one cell: the study's name of its column, and the number of its line or row."""
        return self.error(f"column {self.label(name)} {what} in {self.unit} {number}; {remedy}")

    def label(self, name: object) -> str:
        """A column as people read it: its name in the table and, where that is another one, in the study."""
        own = self._columns.get(name, name) if isinstance(name, str) else name
        return quoted(own) if own == name else f"{quoted(own)} ({quoted(name)} in the study)"

    @abstractmethod
    def _fetch(self, own: Sequence[str]) -> "pd.DataFrame":
        """The columns of those names, which are in the header once each; at most MAX_ROWS + 1 rows."""

    @abstractmethod
    def _floats(self, column: "pd.Series[float]") -> Floats:
        """A column as float64, each number exactly as it is there, NaN where there is nothing."""

    def _find(self, names: Sequence[str], own: Sequence[str]) -> None:
        for position, (name, there) in enumerate(zip(names, own, strict=True)):
            if there in own[:position]:
                other = quoted(names[own.index(there)])
                raise self.error(
                    f"column {quoted(there)} would be both {other} and {quoted(name)} of the study; "
                    "give each its own column in [data.columns]"
                )
            count = self.header.count(there)
            if count == 0:
                missing = f"{self._who}: column {self.label(name)} is missing in {self._where}"
                raise DataError(missing, self._near(name))
            if count > 1:
                raise self.error(f"has {count} columns called {quoted(there)}; rename all but one")

    def _near(self, name: str) -> str:
        own = self._columns.get(name, name)
        in_table = suggestion(own, self.header)
        in_mapping = "" if in_table or name in self._columns else suggestion(name, self._columns)
        if in_mapping:
            return f" and in [data.columns]{in_mapping}"
        return in_table or f"; it has {', '.join(map(quoted, self.header[:_LISTED_NAMES]))}"


def check_file(path: Path, who: str) -> None:
    """Whether there is a file to read at all. Raises DataError: a pipe, for one, would wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{who}: there is no file {path.name} where it should be; check the path") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, who, error) from None
    if S_ISDIR(mode):
        raise DataError(f"{who}: {path.name} cannot be read: is a directory")
    if not S_ISREG(mode):
        raise DataError(f"{who}: {path.name} is no regular file; name one")


def unreadable(path: Path, who: str, error: Exception) -> DataError:
    """The sentence for a file that the system does not let be read."""
    reason = getattr(error, "strerror", None) or "unknown reason"
    return DataError(f"{who}: {path.name} cannot be read: {reason.lower()}")
