"""Rows of a table as an estimator wants them: selected, grouped, checked for ambiguity, counted, arranged by seed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.fitting.base import Counts, Selection, plain
from muster.statistics.pairing import column_means

MEASURED = frozenset(
    {
        "diverged",
        "final_train_loss",
        "final_eval_loss",
        "steps",
        "parameters",
        "flops",
        "seconds",
        "train_loss",
        "eval_loss",
        "value",
        "se",
        "log2_lr_low",
        "log2_lr_high",
    }
)
WITHIN_RUN = frozenset({"step", "probe", "layer"})
MEMBER_PREFIX = "log2_"  # swept hyperparameters are stored as exact powers of two


def require_columns(table: pd.DataFrame, columns: Sequence[str], field: str) -> None:
    """Raise a MusterError naming `field` when the table lacks one of the columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise MusterError(field, f"the table has no column {missing[0]!r}", f"Columns: {', '.join(table.columns)}")


def select(table: pd.DataFrame, selection: Selection, field: str = "select") -> pd.DataFrame:
    """The rows whose columns take the selected values; a value, or a list of values, per column."""
    require_columns(table, list(selection), field)
    keep = np.ones(len(table), bool)
    for column, wanted in selection.items():
        keep &= table[column].isin(wanted if isinstance(wanted, list) else [wanted]).to_numpy()
    return table[keep]


def groups(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each combination of the `by` columns that occurs, sorted, with its rows."""
    require_columns(table, by, "by")
    if not by:
        yield {}, table
        return
    for values, rows in table.groupby(list(by), sort=True, dropna=False):
        yield {name: plain(value) for name, value in zip(by, values, strict=True)}, rows


def keys(table: pd.DataFrame) -> list[str]:
    """The columns that say which run or probe a row is."""
    return [column for column in table.columns if column not in MEASURED]


def count(table: pd.DataFrame) -> Counts:
    """How many cells and runs stand behind these rows."""
    run = [column for column in keys(table) if column not in WITHIN_RUN]
    cell = [column for column in run if not column.startswith(MEMBER_PREFIX)]
    return Counts(len(table[cell].drop_duplicates()), len(table[run].drop_duplicates()))


def require_unique(table: pd.DataFrame, unit: Sequence[str]) -> None:
    """Each unit must have one row: averaging over an axis that nobody named would hide a difference.

    Raises a MusterError that names the columns in which the rows of one unit differ.
    """
    repeated = table.duplicated(list(unit), keep=False)
    if not repeated.any():
        return
    first = table[repeated].iloc[0]
    same = table[(table[list(unit)] == first[list(unit)]).all(axis=1)]
    differing = [column for column in keys(table) if column not in unit and same[column].nunique(dropna=False) > 1]
    where = ", ".join(f"{column} {plain(first[column])}" for column in unit)
    if not differing:
        raise MusterError("table", f"the same run occurs {len(same)} times ({where})", "Keep one row per run")
    raise MusterError(
        "by",
        f"{len(same)} rows share {where}; they differ in {', '.join(differing)}",
        f"Name {differing[0]!r} in `by`, or fix its value in `select`",
    )


def levels(table: pd.DataFrame, along: str) -> list[tuple[float, pd.DataFrame]]:
    """The rows of each value of the axis `along`, in increasing order."""
    require_columns(table, [along], "along")
    return [(float(x), table[table[along] == x]) for x in np.sort(table[along].unique())]


def positive_axis(x: Sequence[float] | NDArray[np.float64], along: str) -> NDArray[np.float64]:
    """ln x, or a MusterError when the axis is not positive and so has no exponent."""
    x = np.asarray(x, float)
    if (x <= 0).any():
        raise MusterError("along", f"{along} takes the value {x.min():g}", "An exponent needs a positive axis")
    return np.log(x)


def seed_matrix(rows: pd.DataFrame, response: str, columns: Sequence[str]) -> pd.DataFrame:
    """Response as seeds × (combinations of `columns`); NaN where a run is missing, infinite or diverged."""
    require_unique(rows, ["seed", *columns])
    values = rows[response].astype(float)
    bad = ~np.isfinite(values)
    if "diverged" in rows.columns:
        bad |= rows["diverged"].astype(bool)
    tidy = rows.assign(**{response: values.mask(bad)})
    if not columns:
        return tidy.set_index("seed")[[response]].sort_index()
    return tidy.pivot(index="seed", columns=list(columns), values=response).sort_index().sort_index(axis=1)


def absent_runs(rows: pd.DataFrame, matrix: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Which entries of the `seed_matrix` of these rows have no run: missing is not diverged."""
    made = rows.assign(made=1.0).pivot(index="seed", columns=list(columns), values="made")
    return made.reindex(index=matrix.index, columns=matrix.columns).isna().to_numpy()


def complete_seeds(rows: pd.DataFrame, response: str, columns: Sequence[str]) -> tuple[NDArray[np.float64], int]:
    """Seeds × combinations of those seeds that are finite throughout, and how many seeds were left out."""
    matrix = seed_matrix(rows, response, columns)
    finite = matrix.dropna()
    return finite.to_numpy(float), len(matrix) - len(finite)


def best_members(table: pd.DataFrame, response: str, along: str, best_over: str | None) -> pd.DataFrame:
    """ln response by seed (rows) and `along` (columns), at the member with the lowest geometric mean over seeds.

    The member is chosen once per x, from the members at which no run was lost, as a practitioner would tune; choosing
    it per seed would report the best of noisy draws. Seeds that were not run there are absent, not lost: means over
    other seeds are adjusted (`column_means`). Without `best_over` each (x, seed) must have one row.
    """
    columns = {}
    for x, rows in levels(table, along):
        chosen = [best_over] if best_over else []
        matrix = seed_matrix(rows, response, chosen)
        if (matrix.to_numpy(float) <= 0).any():
            raise MusterError(
                "response", f"{response} is not positive at {along} {x:g}", "Logarithms need positive values"
            )
        logs = matrix.map(np.log)
        if best_over:
            lost = (logs.isna().to_numpy() & ~absent_runs(rows, matrix, chosen)).any(axis=0)
            logs = logs.iloc[:, np.flatnonzero(~lost)]
        if logs.shape[1]:
            means = column_means(logs.to_numpy(float)) if best_over else np.zeros(1)
            columns[x] = logs.iloc[:, int(means.argmin())]
    return pd.DataFrame(columns)


def require_distinct_runs(table: pd.DataFrame) -> None:
    """Raise a MusterError when a run of an imported table, column `run`, occurs twice."""
    if "run" in table.columns and table["run"].duplicated().any():
        twice = table["run"][table["run"].duplicated()].iloc[0]
        raise MusterError("table", f"the run {twice!r} occurs twice", "Keep one row per run")


def natural_log(rows: pd.DataFrame, column: str, field: str) -> NDArray[np.float64]:
    """ln of a column; a column `log2_…` holds logarithms already and only changes its base. Raises a MusterError naming
    `field` when a value is not positive."""
    values = rows[column].to_numpy(float)
    if column.startswith(MEMBER_PREFIX):
        return values * np.log(2)
    if (values <= 0).any():
        found = f"{column} takes the value {values.min():g}"
        raise MusterError(field, found, "Logarithms need positive values: select the rows that have them")
    return np.log(values)
