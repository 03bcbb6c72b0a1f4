"""Reading and writing the frozen tables: checked, atomic, and byte for byte the same for the same rows."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import pandas_dtype

from muster.errors import MusterError
from muster.tables.schema import COLUMNS, MAY_BE_NAN, ROW_KEYS, Kind


def read_table(path: Path | str, kind: Kind) -> pd.DataFrame:
    """Read one table and check its columns. Raises MusterError naming the file."""
    path = Path(path)
    if not path.exists():
        raise MusterError(str(path), "no such table", "Make it with `snakemake tables`, or `dvc pull` it")
    try:
        frame = pq.read_table(path).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise MusterError(str(path), f"not a readable Parquet file ({error})", "Delete it and run again") from None
    return check_table(frame, kind, str(path))


def write_table(frame: pd.DataFrame, path: Path | str, kind: Kind) -> None:
    """Check and write one table; raises MusterError as `check_table` does, or if the folder cannot be written."""
    path = Path(path)
    write_frame(check_table(frame, kind, str(path)), path)


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write any frame as the tables are written: zstd, no pandas metadata, no index, atomically."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` on a temporary name beside `path`, then rename: readers see the old file or the whole new one."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        remedy = "Make the folder writable, free some space, or set `results:` in config/config.yaml"
        raise MusterError(str(path), f"cannot be written ({error.strerror or error})", remedy) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
