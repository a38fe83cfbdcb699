"""Columns of numbers from a table, view or query of an SQL database. Relies on SQLAlchemy (the extra `sql`).

All is read in one transaction, which is read-only in PostgreSQL and SQLite, and rolled back everywhere. What a database
says in its errors can hold values, names of machines and users, so only the kind of an error is passed on.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from hefed.data.settings import DataSettings
from hefed.data.source import MAX_ROWS, DataError
from hefed.data.typed import TypedSource
from hefed.wording import quoted, suggestion

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 600

_PARTITION = 50_000
_LIBPQ_DRIVERS = ("psycopg", "psycopg2")
_LIBPQ_ARGUMENTS = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,  # a firewall that forgets the connection is noticed within a minute
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_BY_SQLSTATE = {
    "42501": "the user of [data] url may not; grant it SELECT",
    "25006": "it would write, and is run read-only; leave only what reads",
    "57014": "it takes too long, or was cancelled; make it simpler, or see what locks its tables",
}
_BY_PHRASE = {  # libpq gives no code when there is no connection; what it says is looked at and not passed on
    "password authentication failed": "does not take the user and password; look at password_env and its variable",
    "no password supplied": "asks for a password; name an environment variable with it in password_env",
    "no pg_hba.conf entry": "does not let this user in from this machine; look at its pg_hba.conf",
    "does not exist": "is not known to the server; look at its name and at the user",
    "resolve host": "has a host whose name leads nowhere; look at the spelling and at name resolution",
    "Connection refused": "does not listen; look at host and port, and whether the server runs",
    "timeout": f"does not answer within {CONNECT_SECONDS} s; look at host, port and firewalls",
}


class SqlDatabase(TypedSource):
    """One table, view or query of a database."""

    def __init__(self, settings: DataSettings, who: str) -> None:
        """Connects. Raises DataError."""
        super().__init__(who, settings.where, settings.columns)
        self._engine = self._make_engine(settings)
        try:
            self._connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise DataError(f"{who}: the database of [data] url {_why_not_connected(error)}") from None
        try:
            with self._faults():
                self._begin()
                self._relation = self._find_relation(settings)
                self.header = self._read_names(settings.query)
            self._refuse_names_alike()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See `Source`."""
        self._connection.close()  # rolls back
        self._engine.dispose()

    def _make_engine(self, settings: DataSettings) -> sa.Engine:
        try:
            url = sa.make_url(str(settings.url)).set(password=settings.password())
            libpq = url.get_dialect().driver in _LIBPQ_DRIVERS
            arguments = {key: value for key, value in _LIBPQ_ARGUMENTS.items() if libpq and key not in url.query}
            return sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True, connect_args=arguments)
        except KeyError:
            raise self._refusal("needs the password in the variable that password_env names; set it") from None
        except ImportError as error:
            raise self._refusal(f"needs the driver {quoted(error.name)}, which is not installed; install it") from None
        except NoSuchModuleError:
            raise self._refusal('names an unknown kind of database; begin with "postgresql+psycopg://"') from None
        except (ArgumentError, ValueError, TypeError):
            raise self._refusal('is no URL of a database such as "postgresql+psycopg://user@host/database"') from None

    def _refusal(self, what: str) -> DataError:
        return DataError(f"{self._who}: [data] url {what}")

    def _begin(self) -> None:
        match self._engine.dialect.name:
            case "postgresql":
                self._connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                self._connection.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"))
            case "sqlite":
                self._connection.execute(sa.text("PRAGMA query_only = ON"))

    def _find_relation(self, settings: DataSettings) -> sa.FromClause:
        if settings.query is not None:
            return _text(settings.query).columns().subquery("relation")
        schema, table = settings.schema_and_table
        inspector = sa.inspect(self._connection)
        if not inspector.has_table(table, schema=schema):
            known = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
            near = suggestion(table, known) or "; name another, or let the user of [data] url see it"
            raise DataError(f"{self._who}: there is no {self._where}", near)
        return sa.table(_verbatim(table), schema=None if schema is None else _verbatim(schema))

    def _read_names(self, query: str | None) -> list[str]:
        # A query as it stands: within another one SQLite would rename columns that have the same name.
        nothing: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(self._relation).where(sa.false())
        statement = nothing if query is None else _text(query)
        with self._connection.execute(statement, execution_options={"stream_results": True}) as result:
            return list(result.keys())

    def _refuse_names_alike(self) -> None:
        if self._engine.dialect.name == "postgresql":
            return
        name, count = Counter(map(str.casefold, set(self.header))).most_common(1)[0]
        if count > 1:  # not every database tells them apart
            alike = f"{self._who}: {self._where} has {count} columns of one name but for case"
            raise DataError(alike, f", {quoted(name)}; rename all but one")

    def _fetch(self, own: Sequence[str]) -> pd.DataFrame:
        columns: list[sa.ColumnClause[Any]] = [sa.column(_verbatim(name)) for name in own]
        wanted = sa.select(*columns).select_from(self._relation).limit(MAX_ROWS + 1)
        with self._faults():
            result = self._connection.execution_options(stream_results=True).execute(wanted)
            parts = [list(zip(*rows, strict=True)) for rows in result.partitions(_PARTITION)]
        series = {
            position: pd.Series(list(chain.from_iterable(part[position] for part in parts)), dtype=object)
            for position in range(len(own))
        }
        frame = pd.DataFrame(series)
        frame.index += 1
        return frame

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = _cause(error)
            why = _BY_SQLSTATE.get(str(getattr(cause, "sqlstate", None)))
            otherwise = f"the database reports {quoted(type(cause).__name__)}; try it there as the same user"
            raise self.error(f"cannot be read: {why or otherwise}") from None


def _text(query: str) -> sa.TextClause:
    escaped = query.replace(":", "\\:")  # nothing in it is a parameter
    return sa.text(f"{escaped}\n")  # a comment may end it


def _cause(error: SQLAlchemyError) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _why_not_connected(error: SQLAlchemyError) -> str:
    cause = _cause(error)
    for phrase, sentence in _BY_PHRASE.items():
        if phrase in str(cause):
            return sentence
    return f"cannot be reached: its driver reports {quoted(type(cause).__name__)}; look at the URL"


def _verbatim(name: str) -> sa.quoted_name:
    return sa.quoted_name(name, quote=True)
