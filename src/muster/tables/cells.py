"""The cells of somebody's table as they stand in the file, each with the line where it stands."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from muster.config.load import nearest
from muster.errors import MusterError
from muster.files import read_regular
from muster.published.foreign import MOST_COLUMNS, check_plain, read_parquet

SIZE_LIMIT = 256 * 2**20  # bytes


class Cells(NamedTuple):
    """Cells as text or, from Parquet, as values: None where there is none. where: `line 7` of each row."""

    path: Path
    cells: pd.DataFrame
    where: list[str]

    def place(self, row: int, column: str) -> str:
        return f"{self.path} {self.where[row]}, column {column!r}"

    def empty(self, column: str) -> np.ndarray:
        """Which rows have no cell in a column."""
        return np.array([cell is None for cell in self.cells[column]])

    def rows(self, keep: Iterable[int]) -> "Cells":
        kept = [int(row) for row in keep]
        return Cells(self.path, self.cells.iloc[kept].reset_index(drop=True), [self.where[i] for i in kept])


def read_cells(path: Path) -> Cells:
    """Read a CSV, TSV or Parquet file. Raises MusterError naming file and line when it is no table of rows."""
    if not path.is_file():
        raise MusterError(str(path), "no such file", "Give a CSV or Parquet file with one row a run")
    raw = _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)
    if not len(raw.cells):
        raise MusterError(str(path), "no row below the header", "Give a table with one row a run")
    return raw


def _read_parquet(path: Path) -> Cells:
    try:
        table = read_parquet(read_regular(path, SIZE_LIMIT))
        cells = pd.DataFrame(dict(zip(table.column_names, map(_values, table.columns), strict=True)))
        check_plain(cells)
    except Exception as error:  # whatever the file makes pyarrow raise
        found = " ".join(str(error).split())[:200] or type(error).__name__
        raise MusterError(str(path), f"not a readable Parquet file ({found})", "Write it again, or give CSV") from None
    return Cells(path, cells, [f"row {i + 1}" for i in range(len(cells))])


def _values(column: Any) -> pd.Series:
    """A Parquet column's values; a null stays None, unlike NaN."""
    return pd.Series(column.to_pylist(), dtype=object)


def _read_csv(path: Path) -> Cells:
    try:
        text = read_regular(path, SIZE_LIMIT).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise MusterError(
            str(path), f"not a table of text ({error})", "Give CSV in UTF-8, or a .parquet file"
        ) from None
    if not lines:
        raise MusterError(str(path), "the file is empty", "Give a CSV with a header and one row a run")
    header = [name.strip() for name in lines[0][1]]
    if len(header) == 1:
        remedy = "Separate cells by commas (or by tabs, in a file .tsv)"
        raise MusterError(str(path), f"one column, {header[0]!r}", remedy)
    if len(header) > MOST_COLUMNS:
        raise MusterError(str(path), f"{len(header)} columns", f"At most {MOST_COLUMNS} are read")
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise MusterError(str(path), f"two columns are called {twice!r}", "Give every column its own name")
    for number, row in lines[1:]:
        if len(row) != len(header):
            found = f"{len(row)} cells, but the header has {len(header)}"
            raise MusterError(f"{path} line {number}", found, "Quote texts that hold commas; give every row all cells")
    rows = [[cell.strip() or None for cell in row] for _, row in lines[1:]]
    return Cells(path, pd.DataFrame(rows, columns=header, dtype=object), [f"line {number}" for number, _ in lines[1:]])


def find_column(names: Iterable[str], wanted: str, path: Path) -> str:
    """The column of that name, or the only one whose last dotted part it is. Raises MusterError with the nearest."""
    names = list(names)
    if wanted in names:
        return wanted
    last = [name for name in names if name.replace("/", ".").endswith(f".{wanted}")]
    if len(last) > 1:
        raise MusterError(str(path), f"{wanted!r} may be {' or '.join(map(repr, last))}", "Give the full name")
    if not last:
        raise MusterError(str(path), f"no column {wanted!r}", nearest(wanted, names))
    return last[0]


def parse_number(cell: Any) -> float | None:
    """A cell as a number; None where it is none. `NaN`, `inf` and `Infinity` are numbers, `true` is not."""
    if isinstance(cell, bool | np.bool_) or cell is None:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
