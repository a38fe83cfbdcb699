"""Files of Parquet and DuckDB: types that become numbers or are refused, damage, and what a query cannot reach."""

import hashlib
import os
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hefed.data.settings import DataSettings
from hefed.data.source import DataError
from hefed.data.table import load_table
from hefed.study import Study
from tests.data.tables import GOOD, Tables, sentence


@pytest.mark.parametrize("name", ["csv", "parquet", "duckdb"])
def test_files_that_are_none(name: str, tables: Tables, refuse: Study) -> None:
    data = tables.write(name, GOOD)
    path = data.file
    path.unlink()
    assert sentence(data, refuse) == f"region lund: there is no file {path.name} where it should be; check the path"
    os.mkfifo(path)
    assert sentence(data, refuse) == f"region lund: {path.name} is no regular file; name one"
    path.unlink()
    path.mkdir()
    assert sentence(data, refuse) == f"region lund: {path.name} cannot be read: is a directory"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("parquet", "t.parquet is not a Parquet file, or is damaged; write it again"),
        (
            "duckdb",
            "t.duckdb cannot be opened; look whether it is a DuckDB file of this version and no other program has it "
            "open for writing",
        ),
    ],
)
def test_files_of_another_kind(name: str, words: str, tables: Tables, refuse: Study) -> None:
    data = tables.write(name, GOOD)
    for content in (b"", b"age,time\n1,2\n", bytes(10_000), b"PAR1" + bytes(100) + b"PAR1"):
        data.file.write_bytes(content)
        if content or name == "parquet":  # DuckDB takes an empty file for an empty database
            assert sentence(data, refuse) == f"region lund: {words}"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_parquet_file_gives_a_table_or_a_data_error(
    position: float, flip: int, cut: bool, tables: Tables, refuse: Study
) -> None:
    data = tables.parquet(GOOD)
    content = bytearray(data.file.read_bytes())
    at = int(position * len(content))
    content[at] ^= flip
    data.file.write_bytes(content[:at] if cut else content)
    try:
        table = load_table(data, refuse, "lund")
    except DataError as error:
        words = str(error)
    else:
        words = "region lund: "
        assert all(np.isfinite(values).all() for values in table.columns.values())
    assert words.startswith("region lund: ")


ARROW = [
    (pa.array([1.5, None], pa.float32()), [1.5]),
    (pa.array([1, None], pa.uint8()), [1.0]),
    (pa.array([2**63, None], pa.uint64()), [2.0**63]),
    (pa.array([1.5, float("nan")]), [1.5]),
    (pa.array([Decimal("1.10"), None], pa.decimal128(38, 30)), [1.1]),
    (pa.array([Decimal("1.10"), None], pa.decimal256(60, 30)), [1.1]),
    (pa.array([7, None]).dictionary_encode(), [7.0]),
    (pa.array(["7", None]).dictionary_encode(), "something other than a number in row 1"),
    (pa.array([None, b"7"]), "something other than a number in row 2"),
    (pa.array([None, 7], pa.date32()), "something other than a number in row 2"),
    (pa.array([None, 7], pa.duration("s")), "something other than a number in row 2"),
    (pa.array([None, 7], pa.timestamp("us", "UTC")), "something other than a number in row 2"),
    (pa.array([None, [7]]), "something other than a number in row 2"),
    (pa.array([None, {"x": 7}]), "something other than a number in row 2"),
    (pa.array([None, None]), "has no value at all in column 'age'"),
    (pa.array([2**63 + 1, None], pa.uint64()), "more digits than a float64 holds in row 1"),
]


@pytest.mark.parametrize(
    ("array", "expected"), ARROW, ids=[str(array.type) + str(i) for i, (array, _) in enumerate(ARROW)]
)
def test_types_of_parquet(array: pa.Array, expected: list[float] | str, tables: Tables, drop: Study) -> None:
    path = tables.folder / "types.parquet"
    table = pa.table({"age": array, "time": [1.0, 2.0], "death": [0, 1], "sodium": [1, 2]})
    if pa.types.is_duration(array.type):
        pq.write_table(table, path, store_schema=True)
    else:
        pq.write_table(table, path)
    data = DataSettings(source="parquet", path=str(path))
    if isinstance(expected, str):
        assert expected in sentence(data, drop)
    else:
        assert load_table(data, drop, "lund").columns["age"].tolist() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1::hugeint", 1.0),
        ("1::uhugeint", 1.0),
        ("1.25::decimal(18, 6)", 1.25),
        ("1.5::float", 1.5),
        ("true", 1.0),
        ("2::utinyint", 2.0),
        ("'3'::enum('3')", "something other than a number in row 1"),
        ("date '2020-01-01'", "something other than a number in row 1"),
        ("interval 1 day", "something other than a number in row 1"),
        ("uuid()", "something other than a number in row 1"),
        ("340282366920938463463374607431768211455::uhugeint", "DuckDB reports 'ConversionException'"),
        ("170141183460469231731687303715884105727::hugeint", "more digits than a float64 holds in row 1"),
        ("'inf'::double", "an infinite value in row 1"),
    ],
)
def test_types_of_duckdb(value: str, expected: float | str, tables: Tables, drop: Study) -> None:
    query = f"select {value} as age, 1 as time, 1 as death, 1 as sodium"
    data = tables.duckdb(GOOD).model_copy(update={"table": None, "query": query})
    if isinstance(expected, str):
        assert expected in sentence(data, drop)
    else:
        assert load_table(data, drop, "lund").columns["age"].tolist() == [expected]


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        ("select * from '{secret}'", "PermissionException"),
        ("select * from read_text('{secret}')", "PermissionException"),
        ("select *, getenv('HOME') from patients", "CatalogException"),
        ("select * from FRAME", "CatalogException"),
        ("select 'sekretess'::int as age, time, death, sodium from patients", "ConversionException"),
    ],
)
def test_a_query_of_a_duckdb_file_reaches_nothing_else(attack: str, kind: str, tables: Tables, refuse: Study) -> None:
    secret = tables.csv(GOOD).file
    data = tables.duckdb(GOOD)
    before = hashlib.sha256(data.file.read_bytes()).digest()
    query = attack.format(secret=secret)
    found = sentence(data.model_copy(update={"table": None, "query": query}), refuse)
    assert kind in found
    assert "sekretess" not in found
    assert hashlib.sha256(data.file.read_bytes()).digest() == before


FRAME = pa.table({"age": [1.0]})


def test_without_its_defences_duckdb_reaches_files_and_variables(tables: Tables) -> None:
    path = tables.csv(GOOD).file
    with duckdb.connect(tables.duckdb(GOOD).file, read_only=True) as database:
        assert len(database.sql(f"select * from '{path}'").fetchall()) == 4  # noqa: S608
        assert database.sql("select * from FRAME").fetchall() == [(1.0,)]
