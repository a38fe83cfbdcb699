"""Each connector gives the table that CSV gives, bit for bit, and the same sentence for the same fault."""

import csv
import importlib
import random
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hefed.data import duckdbfile, parquetfile, source, sqldatabase
from hefed.data.check import check_table
from hefed.data.settings import DataSettings
from hefed.data.table import LocalTable, commitment, load_table
from hefed.node.work import fault
from hefed.study import Study
from tests.data.tables import GOOD, SOURCES, TYPED, Columns, Tables, sentence

SALT = bytes(32)


def bits(table: LocalTable) -> tuple[object, ...]:
    """All that a table is, bit for bit."""
    columns = {name: values.tobytes() for name, values in table.columns.items()}
    return list(table.columns), columns, table.rows, table.dropped, table.duplicates, commitment(table.columns, SALT)


# --- The same table -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPED)
def test_typed_columns_are_the_numbers_of_the_csv_file(name: str, tables: Tables, refuse: Study) -> None:
    expected = load_table(tables.csv(GOOD), refuse, "lund")
    assert expected.columns["sodium"].tolist() == [130.5, 140.1, 140.1, 150.0]
    assert expected.duplicates == 1
    assert bits(load_table(tables.write(name, GOOD), refuse, "lund")) == bits(expected)


@pytest.mark.parametrize("name", TYPED)
def test_real_patients_are_the_same_from_every_source(name: str, tables: Tables) -> None:
    real = Study.load(Path("examples/heart-failure/cox.toml"))
    path = Path("examples/heart-failure/halland.csv")
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    columns = {
        name: [Decimal(row[name]) if any("." in r[name] for r in read) else int(row[name]) for row in read]
        for name in read[0]
    }
    expected = load_table(path, real, "halland")
    found = load_table(tables.write(name, columns), real, "halland")
    assert expected.rows == len(read) > 100
    assert bits(found) == bits(expected)


@pytest.mark.parametrize("name", SOURCES)
def test_the_order_of_rows_is_of_no_importance(name: str, tables: Tables, refuse: Study) -> None:
    expected = bits(load_table(tables.write(name, GOOD), refuse, "lund"))
    order = [2, 3, 0, 1]
    shuffled = {column: [values[i] for i in order] for column, values in GOOD.items()}
    assert bits(load_table(tables.write(name, shuffled), refuse, "lund")) == expected


def test_rows_that_the_database_moves_give_the_same_commitment(tables: Tables, refuse: Study) -> None:
    data = tables.sql(GOOD)
    expected = bits(load_table(data, refuse, "lund"))
    tables.postgres.run("UPDATE patients SET id = 'z' WHERE id = 'a'")  # writes the row anew, at the end
    assert bits(load_table(data, refuse, "lund")) == expected


@pytest.mark.parametrize("name", SOURCES)
def test_gaps_are_gaps_in_every_type(name: str, tables: Tables, drop: Study) -> None:
    columns = {column: [*values, None] for column, values in GOOD.items()}
    columns["id"][-1] = "e"  # otherwise an empty line in a CSV file
    columns["age"][0] = columns["sodium"][1] = None
    table = load_table(tables.write(name, columns), drop, "lund")
    assert (table.rows, table.dropped) == (2, 3)
    assert table.columns["time"].tolist() == [20.0, 30.0]


NUMBERS = st.one_of(
    st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8),
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1, max_size=8),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=8),
    st.lists(
        st.none() | st.decimals(-(10**9), 10**9, places=6, allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=8,
    ),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=NUMBERS, sodium=NUMBERS, seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", ["parquet", "duckdb", "sql"])
def test_any_numbers_are_the_same_from_every_source(
    name: str, ages: list[Any], sodium: list[Any], seed: int, tables: Tables, drop: Study
) -> None:
    count = max(len(ages), len(sodium))
    columns: Columns = {
        "time": [float(i % 3) for i in range(count + 1)],
        "death": [bool(i % 2) for i in range(count + 1)],
        "age": [*ages, *[None] * (count - len(ages)), type(next((a for a in ages if a is not None), 1.0))(1)],
        "sodium": [*sodium, *[None] * (count - len(sodium)), type(next((a for a in sodium if a is not None), 1.0))(1)],
    }
    order = random.Random(seed).sample(range(count + 1), count + 1)  # noqa: S311 - test data
    shuffled = {column: [values[i] for i in order] for column, values in columns.items()}
    expected = load_table(tables.csv(columns), drop, "lund")
    assert bits(load_table(tables.write(name, shuffled), drop, "lund")) == bits(expected)


# --- The same faults ------------------------------------------------------------------------------

WHERE = {
    "csv": ("t.csv", "line 3"),
    "parquet": ("t.parquet", "row 2"),
    "duckdb": ("table 'patients' in t.duckdb", "row 2"),
    "sql": ("table 'patients'", "row 2"),
    "sqlite": ("table 'patients'", "row 2"),
}
FAULTS: list[tuple[dict[str, list[Any]], str]] = [
    ({"age": [None, None, 83, 72], "sodium": [None, 1.0, 1.0, 1.0]}, "{where} has missing values: 'age' in 2 rows, "
     "'sodium' in 1 row; fill them, or set missing = \"drop-rows\" in [model]"),
    ({"death": [1, 2, 1, 0]}, "{where} column 'death' must be 0 or 1 and is something else in {at}; mend it there"),
    ({"time": [1.0, -987.25, 3.0, 4.0]}, "{where} column 'time' has a negative time in {at}; mend it there"),
    ({"age": [1.0, float("-inf"), 3.0, 4.0]},
     "{where} column 'age' has an infinite value in {at}; leave the field empty if unknown"),
]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(("change", "words"), FAULTS, ids=range(len(FAULTS)))
def test_each_fault_gets_the_same_sentence_from_every_source(
    name: str, change: dict[str, list[Any]], words: str, tables: Tables, refuse: Study
) -> None:
    where, at = WHERE[name]
    found = sentence(tables.write(name, GOOD | change), refuse)
    assert found == f"region lund: {words.format(where=where, at=at)}"
    assert "987" not in found


@pytest.mark.parametrize("name", TYPED)
def test_text_is_no_number_whatever_it_looks_like(name: str, tables: Tables, refuse: Study) -> None:
    where, at = WHERE[name]
    found = sentence(tables.write(name, GOOD | {"age": [None, "72", "83", "61"]}), refuse)
    words = f"column 'age' has something other than a number in {at}; store the column as numbers"
    assert found == f"region lund: {where} {words}"


@pytest.mark.parametrize("name", TYPED)
def test_an_integer_that_no_float64_is_is_refused(name: str, tables: Tables, refuse: Study) -> None:
    where, at = WHERE[name]
    found = sentence(tables.write(name, GOOD | {"age": [2**53, 2**53 + 1, 3, None]}), refuse)
    words = f"column 'age' has a number of more digits than a float64 holds in {at}; round it or leave it out"
    assert found == f"region lund: {where} {words}"
    exact = load_table(tables.write(name, GOOD | {"age": [2**53, 2**60, -(2**62), 0]}), refuse, "lund")
    assert sorted(exact.columns["age"].tolist()) == [-(2.0**62), 0.0, 2.0**53, 2.0**60]


@pytest.mark.parametrize("name", ["parquet", "duckdb", "sql"])
def test_a_decimal_that_no_float64_stands_for_is_refused(name: str, tables: Tables, refuse: Study) -> None:
    where, at = WHERE[name]
    digits = [Decimal("123456789.012345"), Decimal("12345678901234567.012345"), None, None]
    words = f"column 'age' has a number of more digits than a float64 holds in {at}; round it or leave it out"
    assert sentence(tables.write(name, GOOD | {"age": digits}), refuse) == f"region lund: {where} {words}"


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_column_is_named_with_a_near_one(name: str, tables: Tables, refuse: Study) -> None:
    where, _ = WHERE[name]
    columns = {("agee" if column == "age" else column): values for column, values in GOOD.items()}
    data = tables.write(name, columns)
    assert sentence(data, refuse) == f"region lund: column 'age' is missing in {where}; did you mean 'agee'?"
    columns["xyz"] = columns.pop("agee")
    data = tables.write(name, columns)
    listed = "'id', 'time', 'death', 'sodium', 'xyz'"
    assert sentence(data, refuse) == f"region lund: column 'age' is missing in {where}; it has {listed}"


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_table_is_no_table(name: str, tables: Tables, refuse: Study) -> None:
    empty = {column: values[:0] for column, values in GOOD.items()}
    words = "a header but no rows; is it the right file?" if name == "csv" else "no rows; is it the right table?"
    assert sentence(tables.write(name, empty), refuse) == f"region lund: {WHERE[name][0]} has {words}"


@pytest.mark.parametrize("name", SOURCES)
def test_no_more_rows_are_read_than_agreed(
    name: str, tables: Tables, refuse: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tables.write(name, GOOD)
    modules = [source, parquetfile, duckdbfile, sqldatabase, importlib.import_module("hefed.data.csvfile")]
    for limit in (4, 3):
        for module in modules:
            monkeypatch.setattr(module, "MAX_ROWS", limit)
        if limit == 4:
            assert load_table(data, refuse, "lund").rows == 4
    words = "has more than 3 rows, which is more than hefed reads; is it the right table?"
    assert sentence(data, refuse) == f"region lund: {WHERE[name][0]} {words}"


# --- Names ----------------------------------------------------------------------------------------

HOSTILE = [
    'he said "death"; DROP TABLE patients; --',
    "o'clock",
    "100% :x %(y)s",
    "a.b",
    "select",
    "Ålder  i år",
    "back\\slash",
    "`tick`",
    "x]; --",
]


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_are_names_whatever_signs_they_have(name: str, hostile: str, tables: Tables, refuse: Study) -> None:
    columns = {(hostile if column == "death" else column): values for column, values in GOOD.items()}
    mapping = {"death": hostile}
    expected = bits(load_table(tables.csv(GOOD), refuse, "lund"))
    here = Tables(tables.folder, tables.start, relation=hostile.replace(".", " "))
    data = here.write(name, columns).model_copy(update={"columns": mapping})
    assert bits(load_table(data, refuse, "lund")) == expected
    faulty = columns | {hostile: [1, 7, 1, 0]}
    found = sentence(here.write(name, faulty).model_copy(update={"columns": mapping}), refuse)
    assert found.endswith("('death' in the study) must be 0 or 1 and is something else in row 2; mend it there")


@pytest.mark.parametrize("name", SOURCES)
def test_columns_are_mapped_and_mistakes_in_the_mapping_are_named(name: str, tables: Tables, refuse: Study) -> None:
    where, _ = WHERE[name]
    columns = {("dead" if column == "death" else column): values for column, values in GOOD.items()}
    data = tables.write(name, columns)

    def mapped(**mapping: str) -> DataSettings:
        return data.model_copy(update={"columns": mapping})

    expected = bits(load_table(mapped(death="dead", other="not there"), refuse, "lund"))
    assert bits(load_table(tables.write(name, GOOD), refuse, "lund")) == expected
    tables.write(name, columns)
    assert sentence(mapped(death="dad"), refuse) == (
        f"region lund: column 'dad' ('death' in the study) is missing in {where}; did you mean 'dead'?"
    )
    renamed = {("xyz" if column == "dead" else column): values for column, values in columns.items()}
    tables.write(name, renamed)
    assert sentence(mapped(deaths="xyz"), refuse) == (
        f"region lund: column 'death' is missing in {where} and in [data.columns]; did you mean 'deaths'?"
    )
    assert sentence(mapped(death="age"), refuse) == (
        f"region lund: {where} column 'age' would be both 'death' and 'age' of the study; "
        "give each its own column in [data.columns]"
    )


def test_names_that_differ_in_case_only_are_told_apart(tables: Tables, refuse: Study) -> None:
    columns = {"AGE": [1, 2, 3, 4]} | GOOD
    expected = bits(load_table(tables.csv(GOOD), refuse, "lund"))
    assert bits(load_table(tables.parquet(columns), refuse, "lund")) == expected
    assert bits(load_table(tables.sql(columns), refuse, "lund")) == expected
    text = 'SELECT 1 AS "AGE", * FROM patients'
    in_duckdb = tables.duckdb(GOOD).model_copy(update={"table": None, "query": text})
    assert bits(load_table(in_duckdb, refuse, "lund")) == expected
    in_sqlite = tables.sqlite(GOOD).model_copy(update={"table": None, "query": text})
    found = "region lund: the query has 2 columns of one name but for case, 'age'; rename all but one"
    assert sentence(in_sqlite, refuse) == found


@pytest.mark.parametrize("name", ["duckdb", "sql", "sqlite"])
def test_queries_and_views_and_schemas(name: str, tables: Tables, refuse: Study) -> None:
    data = tables.write(name, GOOD)
    expected = bits(load_table(data, refuse, "lund"))
    statement = "CREATE VIEW \"vi ew\" AS SELECT id, age, time, death, sodium FROM patients WHERE id <> 'none'"
    schema = "main"
    if name == "duckdb":
        with duckdb.connect(data.file) as database:
            database.execute(statement)
    elif name == "sqlite":
        import sqlite3

        database = sqlite3.connect(tables.folder / "t.sqlite")
        database.execute(statement)
        database.close()
    else:
        schema = "public"
        tables.postgres.run('DROP VIEW IF EXISTS "vi ew"', statement, 'GRANT SELECT ON "vi ew" TO reader')
    for table in ("vi ew", f"{schema}.vi ew", f"{schema}.patients"):
        assert bits(load_table(data.model_copy(update={"table": table}), refuse, "lund")) == expected
    for query in (
        "select * from patients",
        "WITH p AS (SELECT * FROM patients) SELECT * FROM p WHERE id <> '10:30 %s :x' -- a comment",
        "\n  select time, age, death,\n\tsodium, id from patients\n",
    ):
        data = data.model_copy(update={"table": None, "query": query})
        assert bits(load_table(data, refuse, "lund")) == expected
    assert check_table(data, refuse, "lund", fault).file == data.where
    twice = data.model_copy(update={"query": "select age, time, age, death, sodium from patients"})
    where = "the query in t.duckdb" if name == "duckdb" else "the query"
    assert sentence(twice, refuse) == f"region lund: {where} has 2 columns called 'age'; rename all but one"


@pytest.mark.parametrize("name", ["duckdb", "sql", "sqlite"])
def test_a_table_that_is_not_there_is_named_with_a_near_one(name: str, tables: Tables, refuse: Study) -> None:
    data = tables.write(name, GOOD)
    inside = " in t.duckdb" if name == "duckdb" else ""
    found = sentence(data.model_copy(update={"table": "Patient"}), refuse)
    assert found == f"region lund: there is no table 'Patient'{inside}; did you mean 'patients'?"
    found = sentence(data.model_copy(update={"table": "elsewhere.patients"}), refuse)
    if name == "sqlite":  # which looks for a database of that name
        assert found.startswith("region lund: table 'elsewhere.patients' cannot be read: ")
    else:
        assert found.startswith(f"region lund: there is no table 'elsewhere.patients'{inside}; name another")


# --- Extras -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "package"), [("parquet", "pyarrow"), ("duckdb", "duckdb"), ("duckdb", "pyarrow"), ("sql", "sqlalchemy")]
)
def test_an_extra_that_is_not_installed_is_named(
    name: str, package: str, tables: Tables, refuse: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tables.write(name, GOOD)
    for module in ("arrow", "parquetfile", "duckdbfile", "sqldatabase"):
        monkeypatch.delitem(sys.modules, f"hefed.data.{module}", raising=False)
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    assert sentence(data, refuse) == (
        f"region lund: source = '{name}' needs the package {package}, which is not installed; "
        f"run: pip install 'hefed[{name}]'"
    )


def test_csv_alone_needs_no_extra() -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from hefed.study import Study; from hefed.data.table import load_table\n"
        "from hefed.data.settings import DataSettings\n"
        "for name in ('pyarrow', 'duckdb', 'sqlalchemy', 'psycopg'): sys.modules[name] = None\n"
        "study = Study.load(Path('examples/heart-failure/cox.toml'))\n"
        "data = DataSettings(source='csv', path='examples/heart-failure/orebro.csv')\n"
        "print(load_table(data, study, 'orebro').rows)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("90\n", "")


def test_errors_never_hold_a_number_of_the_table(tables: Tables, refuse: Study) -> None:
    marked: Callable[[str], dict[str, list[Any]]] = lambda column: GOOD | {column: [987.25, -987.5, 987.75, 987.125]}  # noqa: E731
    for name in SOURCES:
        for column in ("time", "death"):
            assert not re.search("987", sentence(tables.write(name, marked(column)), refuse))
