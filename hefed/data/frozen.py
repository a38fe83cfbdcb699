"""A table as bytes and back, for the copy that a region freezes at its approval. Relies on numpy's file format.

The bytes hold patients: callers encrypt them before they touch a disk.
"""

import io

import numpy as np

from hefed.data.table import LocalTable


def to_bytes(table: LocalTable) -> bytes:
    """The table in numpy's .npz form; nothing in it is pickled."""
    buffer = io.BytesIO()
    counts = np.array([table.rows, table.dropped, table.duplicates], np.int64)
    np.savez(buffer, names=np.array(list(table.columns)), values=np.stack(list(table.columns.values())), counts=counts)
    return buffer.getvalue()


def from_bytes(data: bytes) -> LocalTable:
    """The inverse of `to_bytes`; for bytes of our own only."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        rows, dropped, duplicates = (int(count) for count in stored["counts"])
        values = stored["values"]
        values.flags.writeable = False
        columns = {str(name): values[place] for place, name in enumerate(stored["names"])}
    return LocalTable(columns, rows, dropped, duplicates)
