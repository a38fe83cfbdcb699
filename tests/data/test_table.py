"""A region's table: exact numbers, and one sentence for whatever is wrong, which never holds a value."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.data.source import DataError
from hefed.data.table import LocalTable, commitment, load_table
from hefed.study import Study

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

GOOD = "id,age,time,death,sodium\na,61,10,1,130.5\nb,72,20,0,140\nc,83,30,1,150\n"

Load = Callable[..., LocalTable]


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    folder = tmp_path_factory.mktemp("studies")
    found = {}
    for policy in ("refuse", "drop-rows"):
        path = folder / f"{policy}.toml"
        path.write_text(STUDY.replace("MISSING", policy))
        found[policy] = Study.load(path)
    return found


@pytest.fixture
def load(tmp_path: Path, studies: dict[str, Study]) -> Load:
    def write_and_load(content: str | bytes, missing: str = "refuse") -> LocalTable:
        path = tmp_path / "lund.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_table(path, studies[missing], "lund")

    return write_and_load


def test_the_columns_of_the_model_are_read_and_nothing_else(load: Load) -> None:
    table = load(GOOD)
    assert list(table.columns) == ["time", "death", "age", "sodium"]
    assert (table.rows, table.dropped) == (3, 0)
    assert table.columns["sodium"].tolist() == [130.5, 140.0, 150.0]
    assert all(values.dtype == np.float64 and values.flags.c_contiguous for values in table.columns.values())


def test_a_table_is_frozen_and_does_not_show_itself(load: Load) -> None:
    table = load(GOOD)
    with pytest.raises(ValueError, match="read-only"):
        table.columns["age"][0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.rows = 4  # type: ignore[misc]
    assert "130" not in repr(table)


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(",", ";"),
        GOOD.replace(",", ";").replace("130.5", "130,5"),
        GOOD.replace(",", "\t"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        GOOD + ",,,,\n",
        GOOD.replace("\nb", "\n\nb"),
        GOOD.rstrip("\n"),
        GOOD.replace("age", '"age"').replace("61", '"61"'),
        GOOD.replace(",", ", "),
        GOOD.replace("61", "6.1e1").replace("130.5", "+130.50"),
        GOOD.replace("id,", "a label, with comma,").replace("a label, with comma", '"a label, with comma"'),
    ],
    ids=range(13),
)
def test_other_ways_to_write_the_same_table(load: Load, content: str) -> None:
    expected = load(GOOD).columns
    found = load(content).columns
    assert {name: values.tolist() for name, values in found.items()} == {n: v.tolist() for n, v in expected.items()}


CELL = "region lund: lund.csv column 'age' has something other than a number in line 3; mend it there"
FAULTS = [
    (("age,", "agee,"), "region lund: column 'age' is missing in lund.csv; did you mean 'agee'?"),
    (("age,", "AGE,"), "region lund: column 'age' is missing in lund.csv; did you mean 'AGE'?"),
    (
        ("age,", "zzz,"),
        "region lund: column 'age' is missing in lund.csv; it has 'id', 'zzz', 'time', 'death', 'sodium'",
    ),
    (("id,", "age,"), "region lund: lund.csv has 2 columns called 'age'; rename all but one"),
    (("72", "seventy-two"), CELL),
    (("72", '"7,2"'), CELL),
    (("72", "72-73"), CELL),
    (("72", "0x48"), CELL),
    (("72", "1_000"), CELL),
    (("72", "?"), CELL),
    (("72", "True"), CELL),
    (
        ("1,130.5", "True,130.5", "0,140", "False,140", "1,150", "True,150"),
        "region lund: lund.csv column 'death' holds text such as true and false; write 1 and 0",
    ),
    (
        ("72", "inf"),
        "region lund: lund.csv column 'age' has an infinite value in line 3; leave the field empty if unknown",
    ),
    (
        ("72", "1e999"),
        "region lund: lund.csv column 'age' has an infinite value in line 3; leave the field empty if unknown",
    ),
    (
        ("20,0", "20,2"),
        "region lund: lund.csv column 'death' must be 0 or 1 and is something else in line 3; mend it there",
    ),
    (
        ("20,0", "20,0.5"),
        "region lund: lund.csv column 'death' must be 0 or 1 and is something else in line 3; mend it there",
    ),
    (("20,0", "-20,0"), "region lund: lund.csv column 'time' has a negative time in line 3; mend it there"),
    (
        ("72", "", "83", "NA", "140", ""),
        "region lund: lund.csv has missing values: 'age' in 2 rows, 'sodium' in 1 row; "
        'fill them, or set missing = "drop-rows" in [model]',
    ),
    (
        ("b,72", "b,7,2"),
        "region lund: lund.csv is not a regular table: expected 5 fields in line 3, saw 6; "
        "look for a comma inside a number",
    ),
    (
        ("a,61", "a,6,1", "b,72", "b,7,2", "c,83", "c,8,3"),
        "region lund: lund.csv is not a regular table: its lines have more fields than the header names",
    ),
    (
        ("b,72", '"b,72'),
        "region lund: lund.csv is not a regular table: a quotation mark is opened and never closed",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), FAULTS, ids=range(len(FAULTS)))
def test_each_fault_gets_its_sentence(load: Load, changes: tuple[str, ...], sentence: str) -> None:
    content = GOOD
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in content
        content = content.replace(old, new, 1)
    with pytest.raises(DataError) as caught:
        load(content)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty, or has an empty first line; the first line must name the columns"),
        (b"\n1,2\n", "is empty, or has an empty first line; the first line must name the columns"),
        (GOOD.split("\n")[0].encode(), "has a header but no rows; is it the right file?"),
        (b"id,age,time,death,sodium\n\n\n", "has a header but no rows; is it the right file?"),
        ("id,age,time,death,sodium,längd\n".encode("latin-1"), 'is not UTF-8 text; save it as "CSV UTF-8"'),
        (GOOD.encode() + "å".encode("latin-1"), 'is not UTF-8 text; save it as "CSV UTF-8"'),
        (
            GOOD.replace("61", "61\x00").encode(),
            "column 'age' has something other than a number in line 2; mend it there",
        ),
        (
            GOOD.replace(",", ";").replace("61", "6,1").replace("140", "140.5").encode(),
            "column 'age' has something other than a number in line 2; mend it there",
        ),
    ],
)
def test_files_that_are_no_such_table(load: Load, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        load(content)
    assert str(caught.value) == f"region lund: lund.csv {sentence}"


def test_a_file_that_is_not_there(tmp_path: Path, studies: dict[str, Study]) -> None:
    with pytest.raises(DataError) as caught:
        load_table(tmp_path / "lund.csv", studies["refuse"], "lund")
    assert str(caught.value) == "region lund: there is no file lund.csv where it should be; check the path"
    with pytest.raises(DataError, match="cannot be read: is a directory"):
        load_table(tmp_path, studies["refuse"], "lund")


def test_the_line_of_a_fault_is_the_line_of_the_file_after_empty_lines(load: Load) -> None:
    with pytest.raises(DataError, match="in line 6"):
        load(GOOD.replace("\nb", "\n\n\nb").replace("c,83", "c,x"))


@pytest.mark.parametrize("blank", ["", "NA", "NaN", "null", "N/A"])
def test_incomplete_rows_are_dropped_when_the_study_says_so(load: Load, blank: str) -> None:
    table = load(GOOD.replace("72", blank), missing="drop-rows")
    assert (table.rows, table.dropped) == (2, 1)
    assert table.columns["age"].tolist() == [61, 83]
    assert table.columns["time"].tolist() == [10, 30]


def test_a_gap_in_a_column_that_the_model_does_not_use_is_no_gap(load: Load) -> None:
    assert load(GOOD.replace("\nb,", "\n,")).rows == 3


def test_a_row_is_checked_even_if_it_is_dropped(load: Load) -> None:
    with pytest.raises(DataError, match="negative time in line 3"):
        load(GOOD.replace("b,72,20", "b,,-20"), missing="drop-rows")


def test_a_column_without_any_value_is_named(load: Load) -> None:
    with pytest.raises(DataError, match="has no value at all in column 'age'; leave it out of the model"):
        load("age,time,death,sodium\n,1,0,3\n,2,1,3\n", missing="drop-rows")


def test_a_table_without_a_complete_row_is_refused(load: Load) -> None:
    with pytest.raises(DataError, match="has no row with a value in every column of the model"):
        load("age,time,death,sodium\n,1,0,3\n5,2,1,\n", missing="drop-rows")


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50)
@given(ages=st.lists(FINITE, min_size=1, max_size=30), times=st.data())
def test_every_float64_is_read_exactly(
    ages: list[float], times: st.DataObject, tmp_path_factory: pytest.TempPathFactory, studies: dict[str, Study]
) -> None:
    positive = [abs(times.draw(FINITE)) for _ in ages]
    path = tmp_path_factory.mktemp("exact") / "lund.csv"
    lines = [f"{age!r},{time!r},1,{time!r}" for age, time in zip(ages, positive, strict=True)]
    path.write_text("age,time,death,sodium\n" + "\n".join(lines) + "\n")
    columns = load_table(path, studies["refuse"], "lund").columns
    found = sorted(zip(columns["time"].tolist(), columns["age"].tolist(), columns["sodium"].tolist(), strict=True))
    assert found == sorted(zip(positive, ages, positive, strict=True))


@pytest.mark.parametrize(
    "digits", ["0.1", "2.675", "9007199254740993", "1e-320", "123456789.123456789123456789", "0." + "3" * 400]
)
def test_decimals_are_rounded_as_python_rounds_them(load: Load, digits: str) -> None:
    assert load(GOOD.replace("72", digits)).columns["age"][1] == float(digits)
    comma = GOOD.replace(",", ";").replace("130.5", "130,5").replace("72", digits.replace(".", ","))
    assert load(comma).columns["age"][1] == float(digits)


@settings(max_examples=200)
@given(
    content=st.binary(max_size=200) | st.text(alphabet=',;\t"\n\r.0123456789eE+-NAinfage', max_size=200).map(str.encode)
)
def test_arbitrary_bytes_give_a_table_or_a_data_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory, studies: dict[str, Study]
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.csv"
    path.write_bytes(b"age,time,death,sodium\n" + content)
    try:
        table = load_table(path, studies["drop-rows"], "lund")
    except DataError as error:
        sentence = str(error)
    else:
        sentence = ""
        assert all(np.isfinite(values).all() for values in table.columns.values())
        assert all(len(values) == table.rows > 0 for values in table.columns.values())
    assert sentence.isprintable()


def test_a_commitment_binds_to_names_values_and_salt() -> None:
    salt = bytes(range(32))
    columns = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}
    digest = commitment(columns, salt)
    assert len(digest) == 32
    assert digest == commitment(dict(reversed(columns.items())), salt)
    others = [
        commitment(columns, bytes(32)),
        commitment({"a": np.array([1.0, 2.0]), "c": np.array([3.0, 4.0])}, salt),
        commitment({"a": np.array([2.0, 1.0]), "b": np.array([3.0, 4.0])}, salt),
        commitment({"a": np.array([1.0, 2.0, 3.0]), "b": np.array([4.0])}, salt),
        commitment({"a": np.array([1.0, math.nextafter(2.0, 3.0)]), "b": np.array([3.0, 4.0])}, salt),
        commitment({"ab": np.array([1.0, 2.0]), "": np.array([3.0, 4.0])}, salt),
    ]
    assert len({digest, *others}) == 7


def test_a_commitment_is_over_the_stated_bytes() -> None:
    salt = bytes(32)
    stated = (
        b"hefed/1 table commitment" + salt
        + (1).to_bytes(8, "little") + b"a" + (1).to_bytes(8, "little") + bytes.fromhex("000000000000f03f")
        + (2).to_bytes(8, "little") + "å".encode() + (1).to_bytes(8, "little") + bytes.fromhex("0000000000000040")
    )  # fmt: skip
    assert commitment({"å": np.array([2.0]), "a": np.array([1.0])}, salt) == hashlib.sha256(stated).digest()


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_commitment_needs_a_salt_of_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="has 32 bytes"):
        commitment({"a": np.array([1.0])}, bytes(length))
