"""Rows that a fit may use: numbers, finite, not diverged. What is left out is counted, what cannot be is an error."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.fitting.frames import require_columns


def as_numbers(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with the named columns as floats. Raises a MusterError when one is missing or holds something that is
    no number."""
    require_columns(table, columns, "table")
    numbers = {}
    for column in columns:
        values = pd.to_numeric(table[column], errors="coerce")
        wrong = values.isna() & table[column].notna()
        if wrong.any():
            found = f"{column} holds {table[column][wrong].iloc[0]!r}"
            raise MusterError("table", found, "This column needs numbers: mend the table, or select other rows")
        numbers[column] = values.astype(float)
    return table.assign(**numbers)


def usable_rows(
    table: pd.DataFrame, finite: Sequence[str] = (), positive: Sequence[str] = ()
) -> tuple[pd.DataFrame, str]:
    """The rows whose named columns are finite and that did not diverge, and a note of how many others there were.

    The named columns come back as floats. Raises a MusterError as `as_numbers` does, and for a `positive` column that
    holds a value ≤ 0 in a row that would be used.
    """
    columns = list(dict.fromkeys([*finite, *positive]))
    tidy = as_numbers(table, columns)
    good = np.isfinite(tidy[columns].to_numpy(float)).all(axis=1)
    if "diverged" in tidy.columns:
        good &= ~tidy["diverged"].astype(bool).to_numpy()
    used = tidy[good]
    for column in positive:
        if (used[column] <= 0).any():
            found = f"{column} takes the value {used[column].min():g}"
            raise MusterError("table", found, "A logarithm needs positive values: select the rows that have them")
    lost = len(table) - len(used)
    return used, f"{lost} rows left out (missing, infinite or diverged)" if lost else ""
