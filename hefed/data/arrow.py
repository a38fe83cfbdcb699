"""Columns of an Arrow table as pandas columns that lose nothing: integers with gaps stay integers, decimals decimals.

Relies on pyarrow. What is not a number is not even converted: a marker takes its place, so that no text is held.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


NOT_A_NUMBER = "not a number"  # stands for a value that is there and is none


def arrow_frame(columns: Sequence[pa.ChunkedArray]) -> pd.DataFrame:
    """The columns, numbered from 0, and their rows, numbered from 1."""
    frame = pd.DataFrame({position: _series(column) for position, column in enumerate(columns)}, copy=False)
    frame.index += 1
    return frame


def _series(column: pa.ChunkedArray) -> "pd.Series[float]":
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if kind in _NULLABLE or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers: pd.Series[float] = column.to_pandas(types_mapper=_NULLABLE.get)
        return numbers
    marked = np.full(len(column), None, dtype=object)
    marked[column.is_valid().to_numpy()] = NOT_A_NUMBER
    return pd.Series(marked)
