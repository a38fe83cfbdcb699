"""The same patients in every kind of source, and the settings that lead to them."""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from hefed.data.settings import DataSettings
from hefed.data.source import DataError
from hefed.data.table import load_table
from hefed.study import Study
from tests.data.postgres import OWNER, OWNER_PASSWORD, READER, READER_PASSWORD, Server

PASSWORD_ENV = "HEFED_TEST_PASSWORD"

STUDY = """
[study]
id = "s"
purpose = "p"
[model]
kind = "cox"
duration = "time"
event = "death"
covariates = ["age", "sodium"]
missing = "MISSING"
[regions.lund]
data = "lund.csv"
[regions.umea]
data = "umea.csv"
[regions.visby]
data = "visby.csv"
"""

SQL_TYPES = {float: "double precision", int: "bigint", bool: "boolean", str: "text", Decimal: "numeric"}
ARROW_TYPES = {float: pa.float64(), int: pa.int64(), bool: pa.bool_(), str: pa.string(), Decimal: pa.decimal128(30, 6)}
DUCKDB_TYPES = SQL_TYPES | {Decimal: "decimal(30, 6)"}

Columns = Mapping[str, Sequence[Any]]

GOOD: dict[str, list[Any]] = {
    "id": ["a", "b", "c", "d"],
    "age": [61, 72, 83, 72],
    "time": [10.25, 20.0, 30.0, 20.0],
    "death": [True, False, True, False],
    "sodium": [Decimal("130.5"), Decimal("140.1"), Decimal("150"), Decimal("140.1")],
}


def study(folder: Path, missing: str = "refuse") -> Study:
    """A Cox model of time and death on age and sodium."""
    path = folder / f"{missing}.toml"
    path.write_text(STUDY.replace("MISSING", missing))
    return Study.load(path)


def sentence(data: DataSettings, of: Study) -> str:
    """What is said of a table that cannot be used."""
    with pytest.raises(DataError) as caught:
        load_table(data, of, "lund")
    return str(caught.value)


def kind(values: Sequence[Any]) -> type:
    """The one type of the values that are there; float where none is."""
    kinds = {type(value) for value in values if value is not None} or {float}
    (only,) = kinds
    return only


def rows(columns: Columns) -> list[tuple[Any, ...]]:
    return list(zip(*columns.values(), strict=True))


@dataclass(frozen=True)
class Tables:
    """Writes a table of typed values into each kind of source. `relation` is its name in the databases."""

    folder: Path
    start: Callable[[], Server]  # only what is in PostgreSQL needs its server
    relation: str = "patients"

    @property
    def postgres(self) -> Server:
        """The server, the same one each time."""
        return self.start()

    def csv(self, columns: Columns) -> DataSettings:
        """Numbers as Python writes them; booleans as 1 and 0."""
        written = [
            ",".join("" if v is None else str(int(v)) if isinstance(v, bool) else str(v) for v in row)
            for row in rows(columns)
        ]
        (self.folder / "t.csv").write_text("\n".join([",".join(columns), *written]) + "\n")
        return self._settings(source="csv", path="t.csv")

    def parquet(self, columns: Columns) -> DataSettings:
        table = pa.table({name: pa.array(values, ARROW_TYPES[kind(values)]) for name, values in columns.items()})
        pq.write_table(table, self.folder / "t.parquet")
        return self._settings(source="parquet", path="t.parquet")

    def duckdb(self, columns: Columns) -> DataSettings:
        path = self.folder / "t.duckdb"
        path.unlink(missing_ok=True)
        name = '"' + self.relation.replace('"', '""') + '"'
        quoted = ['"' + column.replace('"', '""') + '"' for column in columns]
        types = [DUCKDB_TYPES[kind(values)] for values in columns.values()]
        with duckdb.connect(path) as database:
            listed = ", ".join(f"{column} {of}" for column, of in zip(quoted, types, strict=True))
            database.execute(f"CREATE TABLE {name} ({listed})")
            insert = f"INSERT INTO {name} VALUES ({', '.join('?' * len(quoted))})"  # noqa: S608
            for row in rows(columns):
                database.execute(insert, row)
        return self._settings(source="duckdb", path="t.duckdb", table=self.relation)

    def sql(self, columns: Columns) -> DataSettings:
        name = sql.Identifier(self.relation)
        listed = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(SQL_TYPES[kind(values)]))
            for column, values in columns.items()
        )
        into = sql.Identifier(self.relation.replace("%", "%%"))  # psycopg's own sign for parameters
        place = sql.SQL(", ").join(sql.Placeholder() * len(columns))
        with psycopg.connect(
            host="127.0.0.1", port=self.postgres.port, user=OWNER, password=OWNER_PASSWORD, dbname="postgres"
        ) as connection:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(name))
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, listed))
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(name, sql.Identifier(READER)))
            with connection.cursor() as cursor:
                cursor.executemany(sql.SQL("INSERT INTO {} VALUES ({})").format(into, place), rows(columns))
        return self.database(table=self.relation)

    def sqlite(self, columns: Columns) -> DataSettings:
        """Has neither booleans nor decimals of its own: 1 and 0, and floating point."""
        path = self.folder / "t.sqlite"
        path.unlink(missing_ok=True)
        name = '"' + self.relation.replace('"', '""') + '"'
        quoted = ['"' + column.replace('"', '""') + '"' for column in columns]
        plain = [tuple(float(v) if isinstance(v, Decimal) else v for v in row) for row in rows(columns)]
        database = sqlite3.connect(path)
        database.execute(f"CREATE TABLE {name} ({', '.join(quoted)})")
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(quoted))})", plain)  # noqa: S608
        database.commit()
        database.close()
        return self._settings(source="sql", url=f"sqlite:///{path}", table=self.relation)

    def database(self, user: str = READER, **keys: Any) -> DataSettings:
        """Settings for the PostgreSQL server, whose reader's password is in the environment."""
        os.environ[PASSWORD_ENV] = READER_PASSWORD
        return self._settings(source="sql", **({"url": self.postgres.url(user), "password_env": PASSWORD_ENV} | keys))

    def write(self, source: str, columns: Columns) -> DataSettings:
        """In the source of that name: csv, parquet, duckdb, sql or sqlite."""
        settings: DataSettings = getattr(self, source)(columns)
        return settings

    def _settings(self, **keys: Any) -> DataSettings:
        return DataSettings(**keys).relative_to(self.folder)


SOURCES = ("csv", "parquet", "duckdb", "sql", "sqlite")
TYPED = SOURCES[1:]
