"""Opens the table that a region's settings name. Imports what reads it only then, as each is an optional extra."""

from collections.abc import Callable

from hefed.data.csvfile import CsvFile
from hefed.data.settings import DataSettings
from hefed.data.source import DataError, Source

_EXTRAS = {"parquet": ("pyarrow",), "duckdb": ("duckdb", "pyarrow"), "sql": ("sqlalchemy",)}


def open_source(settings: DataSettings, who: str) -> Source:
    """The table, open, to be closed by the caller; `who` begins each error. Raises DataError."""
    try:
        opener = _opener(settings.source)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS.get(settings.source, ()):
            raise
        raise DataError(
            f"{who}: source = '{settings.source}' needs the package {error.name}, which is not installed; "
            f"run: pip install 'hefed[{settings.source}]'"
        ) from None
    return opener(settings, who)


def _opener(source: str) -> Callable[[DataSettings, str], Source]:
    match source:
        case "parquet":
            from hefed.data.parquetfile import ParquetFile

            return lambda settings, who: ParquetFile(settings.file, who, settings.columns)
        case "duckdb":
            from hefed.data.duckdbfile import DuckDbFile

            return DuckDbFile
        case "sql":
            from hefed.data.sqldatabase import SqlDatabase

            return SqlDatabase
        case _:
            return lambda settings, who: CsvFile(settings.file, who, settings.columns)
