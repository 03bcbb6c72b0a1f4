"""Rows of a run table as a law wants them: numeric, positive, unrepeated, and able to identify its parameters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.fitting.base import plain
from muster.fitting.frames import require_columns
from muster.fitting.laws.base import Array

# ln x of two variables that move together within 1e-3 of their spread (tokens = 20 × parameters, rounded) are one.
COLLINEAR = 1e3


class Usable(NamedTuple):
    """The rows that can be fitted, and how many could not (diverged, or not finite)."""

    rows: pd.DataFrame
    lost: int

    @property
    def note(self) -> str:
        return f"{self.lost} rows left out (diverged or not finite)" if self.lost else ""


def usable_rows(table: pd.DataFrame, columns: Sequence[str], response: str, signed: Sequence[str] = ()) -> Usable:
    """Rows with finite values in all columns; diverged runs are dropped and counted.

    Raises a MusterError for a missing column, one that is not numeric, values that are not positive (but for
    columns in `signed`), and a run that occurs twice.
    """
    require_columns(table, columns, "options.columns")
    require_columns(table, [response], "response")
    needed = list(dict.fromkeys([*columns, response]))
    for column in needed:
        if not pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column]):
            raise MusterError(
                "response" if column == response else "options.columns",
                f"column {column!r} is not numeric",
                "Remove text and units from its cells, or select rows without them",
            )
    values = table[needed].to_numpy(float)
    good = np.isfinite(values).all(axis=1)
    if "diverged" in table.columns:
        good &= ~table["diverged"].to_numpy(bool)
    rows = table[good]
    for column in needed:
        if column not in signed and len(rows) and (rows[column] <= 0).any():
            worst = rows.loc[rows[column].idxmin()]
            where = f" in run {plain(worst['run'])}" if "run" in rows.columns else ""
            raise MusterError(
                "response" if column == response else "options.columns",
                f"{column} is {worst[column]:g}{where}",
                "Laws are fitted to logarithms: select rows with positive values, or shift the column when it is made",
            )
    repeated = rows.duplicated(["run"] if "run" in rows.columns else None)
    if repeated.any():
        first = rows[repeated].iloc[0]
        name = f"run {plain(first['run'])}" if "run" in rows.columns else f"a row with {response} {first[response]:g}"
        raise MusterError("table", f"{name} occurs more than once", "Keep one row per run")
    return Usable(rows, int((~good).sum()))


def logarithms(x: Array, variables: Sequence[str], signed: Sequence[str]) -> Array:
    """ln x of variables [V, R]; those in `signed`, which may be negative, as they are."""
    return np.array([row if name in signed else np.log(row) for name, row in zip(variables, x, strict=True)])


def design_problem(
    x: Array, variables: Sequence[str], parameters: int, signed: Sequence[str] = ()
) -> tuple[str, str] | None:
    """Status and note when x [V, R] cannot identify a law of that many parameters; None when nothing is in the way.

    too_few: no more rows than parameters, or fewer distinct designs. collinear: a variable that does not vary, or
    variables whose logarithms are linear in each other, such as tokens at a constant number per parameter.
    """
    if x.shape[1] <= parameters:
        return "too_few", f"{x.shape[1]} rows for {parameters} parameters"
    distinct = np.unique(x, axis=1).shape[1]
    if distinct < parameters:
        return "too_few", f"{distinct} distinct values of {', '.join(variables)} for {parameters} parameters"
    logs = logarithms(x, variables, signed)
    for name, values in zip(variables, logs, strict=True):
        if np.ptp(values) == 0:
            return "collinear", f"{name} does not vary"
    centred = logs - logs.mean(axis=1, keepdims=True)
    scaled = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    if np.linalg.cond(scaled) > COLLINEAR:
        return "collinear", f"{' and '.join(variables)} vary in proportion (collinear logarithms)"
    return None
