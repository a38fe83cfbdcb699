"""A frozen table is the same bits as the table that it was made of, and its bytes run nothing."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hefed.data import frozen
from hefed.data.table import LocalTable, commitment, load_table
from hefed.study import Study
from tests.data.tables import GOOD, Tables

NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=128)
SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1 / 3]


@st.composite
def tables_of_numbers(draw: st.DrawFn) -> LocalTable:
    """Any names that a study may have for columns, and any finite numbers."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    rows = draw(st.integers(1, 20))
    finite = st.one_of(st.sampled_from(SPECIAL), st.floats(allow_nan=False, allow_infinity=False))
    columns = {name: draw(arrays(np.float64, rows, elements=finite)) for name in names}
    return LocalTable(columns, rows, draw(st.integers(0, 2**40)), draw(st.integers(0, 2**40)))


def same_bits(one: LocalTable, other: LocalTable) -> bool:
    return (
        list(one.columns) == list(other.columns)
        and all(one.columns[name].tobytes() == other.columns[name].tobytes() for name in one.columns)
        and (one.rows, one.dropped, one.duplicates) == (other.rows, other.dropped, other.duplicates)
    )


@settings(deadline=None, max_examples=150)
@given(tables_of_numbers())
def test_a_frozen_table_comes_back_bit_for_bit(table: LocalTable) -> None:
    back = frozen.from_bytes(frozen.to_bytes(table))
    assert same_bits(back, table)
    assert commitment(back.columns, bytes(32)) == commitment(table.columns, bytes(32))
    assert frozen.to_bytes(back) == frozen.to_bytes(table)


def test_bits_are_compared_and_not_numbers() -> None:
    """The control: -0.0 and 0.0 are the same number."""
    one = LocalTable({"a": np.array([0.0])}, 1, 0, 0)
    other = LocalTable({"a": np.array([-0.0])}, 1, 0, 0)
    assert not same_bits(one, other)
    assert not same_bits(frozen.from_bytes(frozen.to_bytes(one)), other)


def test_long_and_foreign_names() -> None:
    names = ["å" * 128, "年齢", "a b", "'\"\\", "🫀", "values", "names", "counts", "../x"]
    table = LocalTable({name: np.array([float(at)]) for at, name in enumerate(names)}, 1, 2, 3)
    assert same_bits(frozen.from_bytes(frozen.to_bytes(table)), table)


def test_a_frozen_table_cannot_be_changed() -> None:
    table = LocalTable({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}, 2, 0, 0)
    for values in frozen.from_bytes(frozen.to_bytes(table)).columns.values():
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 9.0


def test_a_table_as_it_is_read_comes_back(tables: Tables, refuse: Study) -> None:
    table = load_table(tables.duckdb(GOOD), refuse, "lund")
    assert table.rows == 4
    assert same_bits(frozen.from_bytes(frozen.to_bytes(table)), table)


class Trap:
    """What would run something when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("it was unpickled",))


def test_nothing_in_it_is_pickled_and_no_pickle_is_taken() -> None:
    data = frozen.to_bytes(LocalTable({"a": np.array([1.0])}, 1, 0, 0))
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        assert sorted(parts.namelist()) == ["counts.npy", "names.npy", "values.npy"]
        assert all(b"'|O'" not in parts.read(name) for name in parts.namelist())
    buffer = io.BytesIO()
    np.savez(
        buffer, names=np.array(["a"]), values=np.array([[Trap()]], dtype=object), counts=np.array([1, 0, 0], np.int64)
    )
    with pytest.raises(ValueError, match="allow_pickle=False"):
        frozen.from_bytes(buffer.getvalue())
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        frozen.from_bytes(pickle.dumps(Trap()))
