"""Columns of numbers from a Parquet file. Relies on pyarrow (the extra `parquet`); reads only the columns asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hefed.data.arrow import arrow_frame
from hefed.data.source import MAX_ROWS, check_file, unreadable
from hefed.data.typed import TypedSource


class ParquetFile(TypedSource):
    """One Parquet file: not a folder of them."""

    def __init__(self, path: Path, who: str, columns: Mapping[str, str]) -> None:
        """Raises DataError."""
        super().__init__(who, path.name, columns)
        check_file(path, who)
        try:
            self._file = pq.ParquetFile(path)
            self.header = list(self._file.schema_arrow.names)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno:  # the system's, not pyarrow's own
                raise unreadable(path, who, error) from None
            raise self.error("is not a Parquet file, or is damaged; write it again") from None

    def close(self) -> None:
        """See `Source`."""
        self._file.close()

    def _fetch(self, own: Sequence[str]) -> pd.DataFrame:
        if self._file.metadata.num_rows > MAX_ROWS:
            raise self.too_long()
        try:
            table = self._file.read(columns=list(own), use_threads=False)
        except (pa.ArrowException, OSError):
            raise self.error("is damaged; write it again") from None
        return arrow_frame([table.column(name) for name in own])
