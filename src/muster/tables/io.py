"""Reading and writing the frozen tables: checked, atomic, and byte for byte the same for the same rows."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import pandas_dtype

from muster.columns import COLUMNS, MAY_BE_NAN, ROW_KEYS, Kind
from muster.errors import DamagedError, MusterError
from muster.files import write_atomically

DIGEST = b"muster.sha256"  # of the values, in the file's own metadata: Parquet's footer carries no checksum


def read_table(path: Path | str, kind: Kind) -> pd.DataFrame:
    """Read one table and check its columns. Raises MusterError naming the file."""
    path = Path(path)
    return check_table(read_frame(path), kind, str(path))


def read_frame(path: Path) -> pd.DataFrame:
    """Read what `write_frame` wrote. Raises MusterError naming the file if it is missing, DamagedError if it holds
    anything else than what was written.
    """
    if not path.exists():
        raise MusterError(str(path), "no such table", "Make it with `snakemake tables`, or `dvc pull` it")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        whole = (table.schema.metadata or {}).get(DIGEST) == _digest(table)
        frame = table.replace_schema_metadata(None).to_pandas()
    except Exception as error:  # a flipped bit may raise anything
        if isinstance(error, OSError) and error.strerror:
            raise MusterError(str(path), f"cannot be read ({error.strerror})", "Check the disk and the owner") from None
        found = " ".join(str(error).split())
        raise DamagedError(str(path), f"damaged: not a readable Parquet file ({found})", path) from None
    if not whole:
        raise DamagedError(str(path), "damaged: its checksum does not match", path)
    return frame


def content_digest(path: Path) -> str:
    """The sha256 of the values that a table was written with, as 64 hexadecimal digits; empty if no table lies there.

    Read off the file's metadata: that the values are still those, `read_frame` finds out.
    """
    try:
        return (pq.read_schema(path).metadata or {}).get(DIGEST, b"").decode()
    except (OSError, ValueError):
        return ""


def frame_digest(frame: pd.DataFrame, kind: Kind) -> str:
    """What `content_digest` says of the file that `write_table` writes."""
    return _digest(pa.Table.from_pandas(check_table(frame, kind, kind), preserve_index=False)).decode()


def write_table(frame: pd.DataFrame, path: Path | str, kind: Kind) -> None:
    """Check and write one table; raises MusterError as `check_table` does, or if the folder cannot be written."""
    path = Path(path)
    write_frame(check_table(frame, kind, str(path)), path)


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write any frame as the tables are written: zstd, with a checksum, no pandas metadata, no index, atomically."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({DIGEST: _digest(table)})
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def _digest(table: pa.Table) -> bytes:
    """sha256 over names, types and values. Of the values and not of the file's bytes, so that it can lie inside.

    All NaN count as one, and so do both zeros: Parquet's dictionaries may not tell them apart.
    """
    hasher = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, np.where(values == 0, 0.0, values))
        plain = values.dtype.kind in "biuf"
        hasher.update(json.dumps([name, values.dtype.str if plain else "text", len(values)]).encode())
        hasher.update(np.ascontiguousarray(values).data if plain else json.dumps(column.to_pylist()).encode())
    return hasher.hexdigest().encode()


def check_table(frame: pd.DataFrame, kind: Kind, place: str) -> pd.DataFrame:
    """The frame with the schema's column types. Raises MusterError naming `place` and the column.

    Columns of the schema must be there; others are keys. Losses may be NaN, never infinite.
    """
    columns = COLUMNS[kind]
    missing = [name for name in columns if name not in frame]
    if missing:
        raise MusterError(place, f"the {kind} table lacks {', '.join(missing)}", f"Its columns: {', '.join(columns)}")
    frame = frame.copy(deep=False)
    for name, dtype in columns.items():
        values = frame[name]
        if name not in MAY_BE_NAN and values.isna().any():
            raise MusterError(place, f"column {name} has missing values", f"It must be {dtype} in every row")
        try:
            frame[name] = values.astype(pandas_dtype("str" if dtype == "string" else dtype))
        except (ValueError, TypeError) as error:
            raise MusterError(
                place, f"column {name} is not {dtype} ({error})", "Mend the experiment that made it"
            ) from None
        if dtype == "float64" and np.isinf(frame[name].to_numpy()).any():
            raise MusterError(
                place, f"column {name} holds infinities", "A run that leaves the finite numbers is diverged: NaN"
            )
    return frame


def check_unique(frame: pd.DataFrame, kind: Kind, keys: Sequence[str], place: str) -> None:
    """Raises MusterError if two rows share all keys."""
    by = [*keys, *ROW_KEYS[kind]]
    double = frame.duplicated(by) if by else pd.Series([False] + [True] * (len(frame) - 1), dtype=bool)[: len(frame)]
    if double.any():
        row = frame.loc[double.to_numpy(), by].iloc[0].to_dict()
        raise MusterError(
            place, f"{int(double.sum())} rows of {kind} repeat the keys of another, first {row}", "Keys must be unique"
        )
