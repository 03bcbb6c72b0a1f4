"""Parquet files of other people: bounded by what they declare before they are expanded, and cell by cell plain."""

import io
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CELLS = 50_000_000
MOST_COLUMNS = 10_000
MOST_BYTES = 2**30  # in memory: the largest table that a study names has 40 MB there


def read_parquet(data: bytes) -> "pa.Table":
    """The table of a Parquet file. Raises ValueError for one that is, or expands to, more than a table of runs, and
    whatever pyarrow raises for one that is none.

    A value may repeat millions of times in a few bytes: rows are taken in batches that cannot exceed the bound, however
    often the longest possible value stands in them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(io.BytesIO(data)) as file:
        declared = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        cells = file.metadata.num_rows * file.metadata.num_columns
        if file.metadata.num_columns > MOST_COLUMNS or cells > MOST_CELLS or declared > MOST_BYTES:
            found = f"{file.metadata.num_rows} rows, {file.metadata.num_columns} columns, {declared} bytes"
            raise ValueError(f"it declares {found}: more than a table of runs has")
        batches, total = [], 0
        for batch in file.iter_batches(max(1, min(2**16, MOST_BYTES // max(len(data), declared, 1)))):
            batches.append(batch)
            total += batch.nbytes
            if total > MOST_BYTES:
                raise ValueError(f"it expands to more than {MOST_BYTES >> 20} MB")
        return pa.Table.from_batches(batches, file.schema_arrow)


def check_plain(frame: pd.DataFrame) -> None:
    """Raises ValueError for more columns than a table of runs has, for two of one name, and for cells that hold several
    values or raw bytes."""
    if len(frame.columns) > MOST_COLUMNS:
        raise ValueError(f"it has {len(frame.columns)} columns, at most {MOST_COLUMNS} are read")
    if not frame.columns.is_unique:
        raise ValueError(f"two columns are called {frame.columns[frame.columns.duplicated()][0]!r}")
    for name in frame.columns:
        values = frame[name]
        nested = values.dtype == object and values.map(_is_nested).any()
        if nested:
            raise ValueError(f"column {name!r} holds lists, records or bytes where one value is meant")


def _is_nested(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview) or (
        hasattr(value, "__iter__") and not isinstance(value, str)
    )
