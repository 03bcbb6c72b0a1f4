"""The cells of somebody's table as they stand in the file, each with the line where it stands."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from muster.config.load import nearest
from muster.errors import MusterError
from muster.tables.sweeps.vocabulary import last_part, plain_word, without_prefix

SHOWN = 6  # entries of a list that a message shows
EMPTY = ("", "-", "–", "none", "null", "na", "n/a", "<na>")  # in a column of numbers; a group may be called none


class Cells(NamedTuple):
    """Cells as text or, from Parquet and JSON, as values: None where there is none. where: `line 7` of each row.

    ambiguous: columns whose numbers can be read in two ways, and which. commas: columns read with a decimal comma, and
    one of their numbers.
    """

    path: str
    cells: pd.DataFrame
    where: list[str]
    ambiguous: Mapping[str, str] = {}
    commas: Mapping[str, str] = {}

    def place(self, row: int, column: str) -> str:
        return f"{self.path} {self.where[row]}, column {column!r}"

    def empty(self, column: str) -> np.ndarray:
        """Which rows have no cell in a column."""
        return np.array([is_empty(cell) for cell in self.cells[column]], bool)

    def rows(self, keep: Iterable[int]) -> "Cells":
        kept = [int(row) for row in keep]
        return self._replace(
            cells=self.cells.iloc[kept].reset_index(drop=True), where=[self.where[row] for row in kept]
        )

    def decimal_commas(self, columns: Iterable[str]) -> list[str]:
        """What a reader is told of the columns whose numbers were read with a decimal comma."""
        return [f"{name!r} has decimal commas: {self.commas[name]}" for name in columns if name in self.commas]

    def numbers(self, column: str) -> np.ndarray:
        """A column as floats; an empty cell is NaN. Raises MusterError for a cell that is no number."""
        if column in self.ambiguous:
            remedy = "Write numbers with a decimal point and without separators of thousands"
            raise MusterError(f"{self.path} column {column!r}", self.ambiguous[column], remedy)
        cells = self.cells[column].tolist()
        if all(cell is None or type(cell) is str for cell in cells):
            with contextlib.suppress(ValueError):  # as below, of plain numbers and nothing else
                return np.array([np.nan if cell is None else float(cell) for cell in cells], float)
        try:
            return np.array([np.nan if is_empty(cell) else _float(cell) for cell in cells], float)
        except ValueError:
            row = next(row for row, cell in enumerate(cells) if not is_empty(cell) and parse_number(cell) is None)
            raise MusterError(self.place(row, column), f"{cells[row]!r} is no number", "Write a number there") from None


def find_column(names: Iterable[str], wanted: str, path: str) -> str:
    """The column of that name; else the only one that is it without a tracker's prefix, else the only one whose last
    part it is, small and capital letters and separators alike. Raises MusterError with the nearest name.
    """
    names = list(names)
    if wanted in names:
        return wanted
    for form in (str, without_prefix, last_part):
        found = [name for name in names if plain_word(form(name)) == plain_word(wanted)]
        if len(found) > 1:
            raise MusterError(path, f"{wanted!r} may be {' or '.join(map(repr, found))}", "Give the full name")
        if found:
            return found[0]
    raise MusterError(path, f"no column {wanted!r}", nearest(wanted, names))


def is_empty(cell: Any) -> bool:
    """Whether a cell of a column of numbers holds nothing."""
    return cell is None or (isinstance(cell, str) and cell.lower() in EMPTY)


def _float(cell: Any) -> float:
    number = parse_number(cell)
    if number is None:
        raise ValueError
    return number


def parse_number(cell: Any) -> float | None:
    """A cell as a number; None where it is none. `NaN`, `inf` and `Infinity` are numbers, `true` is not."""
    if isinstance(cell, bool | np.bool_) or cell is None:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def shown(entries: Sequence[str], most: int = SHOWN) -> str:
    """The first entries of a list, and whether there are more."""
    return ", ".join(entries[:most]) + (" …" if len(entries) > most else "")


def known_columns(names: Sequence[str]) -> str:
    """The columns that a table has, for a reader who asked for one that it has not."""
    return f"Known: {shown(names, 2 * SHOWN)}"


def select_rows(raw: Cells, selection: Mapping[str, str]) -> Cells:
    """The rows whose cells are what is selected. Raises MusterError where no row is left."""
    for wanted, value in selection.items():
        column = find_column(raw.cells.columns, wanted, raw.path)
        cells = raw.cells[column].tolist()
        keep = [i for i, cell in enumerate(cells) if _same(cell, value)]
        if not keep:
            known = list(dict.fromkeys("" if cell is None else str(cell) for cell in cells))
            holds = f"{column} holds: {shown(known)}"
            raise MusterError(f"{raw.path} --select {wanted}={value}", "no such row", holds)
        raw = raw.rows(keep)
    return raw


def _same(cell: Any, value: str) -> bool:
    if cell is None:
        return value == ""
    number, wanted = parse_number(cell), parse_number(value)
    return str(cell) == value or (number is not None and number == wanted)
