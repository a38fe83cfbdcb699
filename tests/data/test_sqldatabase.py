"""A region's PostgreSQL: it is only read, it never keeps a region waiting, and no password or value is ever shown."""

import logging
import os
import socket
import time

import psycopg
import pytest

from hefed.data import sqldatabase
from hefed.data.settings import DataSettings
from hefed.data.source import DataError
from hefed.data.table import load_table
from hefed.study import Study
from tests.data.postgres import OWNER, OWNER_PASSWORD, READER_PASSWORD, Server
from tests.data.tables import PASSWORD_ENV, Tables, sentence

PATIENTS = {"age": [61, 72], "time": [1.0, 2.0], "death": [1, 0], "sodium": [130.5, 140.0]}
OTHERS = "1.0::float8 AS time, 1 AS death, 1 AS sodium"


def direct(server: Server, query: str) -> list[tuple[object, ...]]:
    """The query as the reader could run it with another program."""
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user="reader", password=READER_PASSWORD, dbname="postgres"
    ) as connection:
        return connection.execute(query).fetchall()


def sessions(server: Server) -> int:
    """How many connections of the reader are open."""
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user=OWNER, password=OWNER_PASSWORD, dbname="postgres"
    ) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'").fetchone()
    assert row is not None
    return int(row[0])


def no_session_is_left(server: Server) -> bool:
    until = time.monotonic() + 5
    while sessions(server) and time.monotonic() < until:
        time.sleep(0.05)
    return sessions(server) == 0


# --- Only read ------------------------------------------------------------------------------------


@pytest.fixture
def trap(postgres: Server) -> str:
    """A query that writes, through a function that the reader may call; the name of its table is `traces`."""
    postgres.run(
        "DROP TABLE IF EXISTS traces",
        "CREATE TABLE traces (age integer)",
        "GRANT SELECT, INSERT, DELETE ON traces TO reader",
        "CREATE OR REPLACE FUNCTION leave_trace() RETURNS integer LANGUAGE sql AS "
        "'INSERT INTO traces VALUES (1) RETURNING age'",
    )
    return f"SELECT leave_trace() AS age, {OTHERS}"


def traces(server: Server) -> int:
    (row,) = direct(server, "SELECT count(*) FROM traces")
    return int(str(row[0]))


def test_a_query_that_would_write_is_refused(trap: str, tables: Tables, refuse: Study) -> None:
    assert sentence(tables.database(query=trap), refuse) == (
        "region lund: the query cannot be read: it would write, and is run read-only; leave only what reads"
    )
    assert traces(tables.postgres) == 0
    direct(tables.postgres, trap)  # the control: nothing else had kept it from writing
    assert traces(tables.postgres) == 1


@pytest.mark.parametrize(
    "query",
    [
        f"WITH gone AS (DELETE FROM traces RETURNING age) SELECT age, {OTHERS} FROM gone",  # noqa: S608
        f"SELECT age, {OTHERS} INTO kept FROM traces",  # noqa: S608
        f"SELECT age, {OTHERS} FROM traces FOR UPDATE",  # noqa: S608
        "SELECT set_config('transaction_read_only', 'off', false) AS age",
        "SELECT 1) AS x, (SELECT leave_trace()",
    ],
)
@pytest.mark.usefixtures("trap")
def test_other_ways_to_write_are_refused(query: str, tables: Tables, refuse: Study) -> None:
    direct(tables.postgres, "INSERT INTO traces VALUES (7) RETURNING age")
    assert sentence(tables.database(query=query), refuse).startswith("region lund: the query cannot be read: ")
    assert traces(tables.postgres) == 1
    assert direct(tables.postgres, "SELECT to_regclass('kept') IS NULL") == [(True,)]


def test_all_is_read_at_one_moment(tables: Tables, monkeypatch: pytest.MonkeyPatch, refuse: Study) -> None:
    """Rows that are written while the table is read are not seen, so no half of a change is."""
    data = tables.sql(PATIENTS)
    find = sqldatabase.SqlDatabase._find

    def change_meanwhile(self: sqldatabase.SqlDatabase, names: list[str], own: list[str]) -> None:
        tables.postgres.run("UPDATE patients SET age = 99")
        find(self, names, own)

    monkeypatch.setattr(sqldatabase.SqlDatabase, "_find", change_meanwhile)
    assert load_table(data, refuse, "lund").columns["age"].tolist() == [61.0, 72.0]
    assert load_table(data, refuse, "lund").columns["age"].tolist() == [99.0, 99.0]


@pytest.mark.parametrize("fail", [False, True])
def test_no_connection_is_left_open(fail: bool, tables: Tables, refuse: Study) -> None:
    data = tables.sql(PATIENTS | ({"age": ["x", "y"]} if fail else {}))
    if fail:
        sentence(data, refuse)
        sentence(data.model_copy(update={"table": "nowhere"}), refuse)
        sentence(data.model_copy(update={"table": None, "query": "select nothing"}), refuse)
    else:
        load_table(data, refuse, "lund")
    assert no_session_is_left(tables.postgres)


def test_only_the_columns_of_the_study_are_asked_for(tables: Tables, refuse: Study) -> None:
    data = tables.sql(PATIENTS | {"name": ["Kim", "Sam"]})
    tables.postgres.run(
        "REVOKE SELECT ON patients FROM reader",
        "GRANT SELECT (age, time, death, sodium) ON patients TO reader",
    )
    assert "may not; grant it SELECT" in sentence(data, refuse)  # the control: names of all columns are looked at
    query = "select age, time, death, sodium from patients"
    assert load_table(data.model_copy(update={"table": None, "query": query}), refuse, "lund").rows == 2


# --- Types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.10::numeric(10, 2)", 1.1),
        ("1e300::numeric", 1e300),
        ("1::smallint", 1.0),
        ("1.1::real", 1.1),
        ("2::float8", 2.0),
        ("false", 0.0),
        ("'7'::text", "something other than a number in row 1"),
        ("'7'::char(3)", "something other than a number in row 1"),
        ("'7'::money", "something other than a number in row 1"),
        ("'7'::bytea", "something other than a number in row 1"),
        ("'7'::jsonb", 7.0),
        ("'\"7\"'::jsonb", "something other than a number in row 1"),
        ("array[7]", "something other than a number in row 1"),
        ("now()", "something other than a number in row 1"),
        ("interval '7 days'", "something other than a number in row 1"),
        ("null::integer", "missing values: 'age' in 1 row"),
        ("'NaN'::numeric", "missing values: 'age' in 1 row"),
        ("'NaN'::float8", "missing values: 'age' in 1 row"),
        ("'Infinity'::float8", "an infinite value in row 1"),
        ("'-Infinity'::numeric", "an infinite value in row 1"),
        ("1e400::numeric", "more digits than a float64 holds in row 1"),
        ("1::numeric / 3", "more digits than a float64 holds in row 1"),
        ("(1::numeric / 3)::float8", 1 / 3),
        ("9223372036854775807::bigint", "more digits than a float64 holds in row 1"),
        ("'unvalued'::integer", "the database reports 'InvalidTextRepresentation'"),
        ("1 / 0", "the database reports 'DivisionByZero'"),
    ],
)
def test_types_of_postgresql(value: str, expected: float | str, tables: Tables, refuse: Study) -> None:
    data = tables.database(query=f"SELECT {value} AS age, {OTHERS}")
    if isinstance(expected, str):
        found = sentence(data, refuse)
        assert expected in found
        assert "unvalued" not in found
    else:
        assert load_table(data, refuse, "lund").columns["age"].tolist() == [expected]


# --- Never waiting --------------------------------------------------------------------------------


def test_a_query_that_takes_too_long_is_ended(tables: Tables, refuse: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqldatabase, "STATEMENT_SECONDS", 1)
    began = time.monotonic()
    found = sentence(tables.database(query=f"SELECT pg_sleep(60)::text AS age, {OTHERS}"), refuse)
    assert found == (
        "region lund: the query cannot be read: it takes too long, or was cancelled; "
        "make it simpler, or see what locks its tables"
    )
    assert 0.9 < time.monotonic() - began < 20


def test_a_locked_table_is_not_waited_for_without_end(
    tables: Tables, refuse: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqldatabase, "STATEMENT_SECONDS", 1)
    data = tables.sql(PATIENTS)
    with psycopg.connect(
        host="127.0.0.1", port=tables.postgres.port, user=OWNER, password=OWNER_PASSWORD, dbname="postgres"
    ) as other:
        other.execute("LOCK TABLE patients IN ACCESS EXCLUSIVE MODE")
        assert "see what locks its tables" in sentence(data, refuse)
    assert load_table(data, refuse, "lund").rows == 2


def test_a_server_that_never_answers_is_given_up(
    tables: Tables, refuse: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sqldatabase._LIBPQ_ARGUMENTS, "connect_timeout", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql+psycopg://reader@127.0.0.1:{silent.getsockname()[1]}/postgres"
        began = time.monotonic()
        found = sentence(tables.database(url=url, table="t"), refuse)
        assert time.monotonic() - began < 20
    assert found.startswith("region lund: the database of [data] url does not answer within ")


# --- Connecting -----------------------------------------------------------------------------------

URL = "region lund: [data] url "
DATABASE = "region lund: the database of [data] url "


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{reader}@127.0.0.1:1/postgres",
         DATABASE + "does not listen; look at host and port, and whether the server runs"),
        ("{reader}@no-such-host.invalid/postgres",
         DATABASE + "has a host whose name leads nowhere; look at the spelling and at name resolution"),
        ("{reader}@127.0.0.1:{port}/nope",
         DATABASE + "is not known to the server; look at its name and at the user"),
        ("nobody@127.0.0.1:{port}/postgres",
         DATABASE + "does not take the user and password; look at password_env and its variable"),
    ],
)  # fmt: skip
def test_why_there_is_no_connection(url: str, words: str, tables: Tables, refuse: Study) -> None:
    filled = "postgresql+psycopg://" + url.format(reader="reader", port=tables.postgres.port)
    assert sentence(tables.database(url=filled, table="t"), refuse) == words


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://reader@127.0.0.1:port/x",
         URL + 'is no URL of a database such as "postgresql+psycopg://user@host/database"'),
        ("nosuch://reader@host/x", URL + 'names an unknown kind of database; begin with "postgresql+psycopg://"'),
        ("postgresql+psycopg2://reader@host/x",
         URL + "needs the driver 'psycopg2', which is not installed; install it"),
        ("sqlite:////no/such/folder/file",
         DATABASE + "cannot be reached: its driver reports 'OperationalError'; look at the URL"),
    ],
)  # fmt: skip
def test_urls_that_lead_nowhere(url: str, words: str, refuse: Study) -> None:
    assert sentence(DataSettings(source="sql", url=url, table="t"), refuse) == words


def test_a_variable_that_is_not_set_is_not_named_but_told(
    tables: Tables, refuse: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUNTER2", raising=False)
    found = sentence(tables.database(password_env="HUNTER2", table="t"), refuse)
    assert found == URL + "needs the password in the variable that password_env names; set it"
    without = DataSettings(source="sql", url=tables.postgres.url(), table="t")
    found = sentence(without, refuse)
    assert found == DATABASE + "asks for a password; name an environment variable with it in password_env"


def test_a_table_that_may_not_be_read(tables: Tables, refuse: Study) -> None:
    data = tables.sql(PATIENTS)
    tables.postgres.run("REVOKE SELECT ON patients FROM reader")
    assert sentence(data, refuse) == (
        "region lund: table 'patients' cannot be read: the user of [data] url may not; grant it SELECT"
    )


# --- The password ---------------------------------------------------------------------------------


def test_the_password_is_in_no_log_error_or_repr(
    tables: Tables, refuse: Study, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "psycopg"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        data = tables.sql(PATIENTS)
        assert load_table(data, refuse, "lund").rows == 2
        said = [repr(data), str(data), repr(data.model_dump())]
        wrong = "wr0ng-pässword"
        os.environ[PASSWORD_ENV] = wrong
        for change in ({}, {"url": "postgresql+psycopg://reader@127.0.0.1:1/x"}, {"url": "nosuch://reader@host/x"}):
            with pytest.raises(DataError) as caught:
                load_table(data.model_copy(update=change), refuse, "lund")
            said += [str(caught.value), repr(caught.value), repr(caught.value.__context__)]
    finally:
        for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "psycopg"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert caplog.records  # SQLAlchemy does log at this level
    output = capfd.readouterr()
    everything = "\n".join([*said, caplog.text, output.out, output.err])
    assert wrong not in everything
    assert READER_PASSWORD not in everything
