"""Columns of numbers from a table, view or query of a DuckDB file. Relies on duckdb and pyarrow (the extra `duckdb`).

The file is opened for reading only, and a query reaches no other file, no network and no variable of this process. What
DuckDB says in its errors can hold values, so only the kind of an error is passed on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pandas as pd

from hefed.data.arrow import arrow_frame
from hefed.data.settings import DataSettings
from hefed.data.source import MAX_ROWS, DataError, check_file
from hefed.data.typed import TypedSource
from hefed.wording import quoted, suggestion

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}


class DuckDbFile(TypedSource):
    """One table, view or query of a DuckDB file."""

    def __init__(self, settings: DataSettings, who: str) -> None:
        """Raises DataError."""
        super().__init__(who, settings.where, settings.columns)
        check_file(settings.file, who)
        try:
            self._database = duckdb.connect(settings.file, read_only=True, config=_CONFIG)
        except duckdb.Error:
            raise DataError(
                f"{who}: {settings.file.name} cannot be opened; look whether it is a DuckDB file of this version "
                "and no other program has it open for writing"
            ) from None
        try:
            self._relation = self._find_relation(settings)
            with self._faults():
                # A query as it stands: within another one DuckDB would rename columns that have the same name.
                columns = self._database.sql(settings.query or f"FROM {self._relation}")
        except BaseException:
            self.close()
            raise
        self.header, self._types = columns.columns, [str(kind) for kind in columns.types]

    def close(self) -> None:
        """See `Source`."""
        self._database.close()

    def _find_relation(self, settings: DataSettings) -> str:
        if settings.query is not None:
            return f"(\n{settings.query}\n)"
        schema, table = settings.schema_and_table
        names = self._database.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = coalesce(?, current_schema())",
            [schema],
        ).fetchall()
        known = [name for (name,) in names]
        if table not in known:
            near = suggestion(table, known) or "; name another"
            raise DataError(f"{self._who}: there is no {self._where}", near)
        return _quoted(table) if schema is None else f"{_quoted(schema)}.{_quoted(table)}"

    def _fetch(self, own: Sequence[str]) -> pd.DataFrame:
        positions = [self.header.index(name) for name in own]
        # By numbers, as DuckDB does not tell 'age' and 'AGE' apart. UHUGEINT would reach Arrow as something else.
        aliases = ", ".join(f"c{position}" for position in range(len(self.header)))
        wanted = ", ".join(
            f"CAST(c{position} AS HUGEINT) AS w{position}" if self._types[position] == "UHUGEINT" else f"c{position}"
            for position in positions
        )
        query = f"SELECT {wanted} FROM {self._relation} AS relation({aliases}) LIMIT {MAX_ROWS + 1}"  # noqa: S608
        with self._faults():
            table = self._database.sql(query).to_arrow_table()
        return arrow_frame(table.columns)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            kind = quoted(type(error).__name__)
            raise self.error(f"cannot be read: DuckDB reports {kind}; try it in DuckDB itself") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
