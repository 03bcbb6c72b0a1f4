"""Rows that a law predicts instead of being fitted to them: which they are, and how well it does."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from muster.config.load import nearest
from muster.config.models import Section
from muster.errors import MusterError
from muster.fitting.laws.base import Array
from muster.published.rows import Filters
from muster.published.transforms import satisfies
from muster.statistics.linear import Estimate

Metric = Literal["rmse_log", "mae", "r2"]
PLACE = "options.hold_out"


class HoldOut(Section):
    """Rows that are left out of the fit and predicted: by conditions on any columns, or above a limit of one."""

    column: str | None = Field(None, description="The column whose largest rows are held out")
    above: float | None = Field(None, description="Rows above this value of `column` are held out")
    quantile: float | None = Field(None, gt=0, lt=1, description="Rows above this quantile of `column` are held out")
    where: Filters = Field(
        default_factory=dict,
        description="Column → value, values or a condition such as {above: 1.0e+9}: rows that satisfy all are held out",
    )
    clusters: str | None = Field(
        None,
        description="Column of whose values all rows are held out together if any of them is: whole runs, families",
    )
    metrics: list[Metric] = Field(
        default_factory=list,
        description="Numbers beside extrapolation_error, each of one cluster and then their mean where the fit has "
        "clusters: rmse_log (root mean square of ln predicted − ln seen), mae (mean absolute error), r2 (share of the "
        "variance that is predicted)",
    )

    @model_validator(mode="after")
    def _some_limit(self) -> "HoldOut":
        limits = (self.above is not None) + (self.quantile is not None)
        if limits != (self.column is not None) or not (limits or self.where):
            raise ValueError("give either `above` or `quantile` of a `column`, or conditions `where`, or both")
        return self

    @property
    def columns(self) -> dict[str, str]:
        """Option → the column that it names."""
        named = {"column": self.column, **{f"where.{name}": name for name in self.where}, "clusters": self.clusters}
        return {f"{PLACE}.{option}": column for option, column in named.items() if column is not None}

    def held(self, rows: pd.DataFrame) -> np.ndarray:
        """Which rows are held out [R]. Raises a MusterError for texts where numbers are compared."""
        held = np.ones(len(rows), bool)
        if self.column is not None and len(rows):
            values = _numbers(rows, self.column)
            limit = np.nanquantile(values, self.quantile) if self.quantile is not None else self.above
            held &= values > np.float64(limit)
        for column, wanted in self.where.items():
            held &= satisfies(rows[column], wanted, f"{PLACE}.where.{column}")
        if self.clusters is not None:
            held = rows[self.clusters].isin(rows[self.clusters][held]).to_numpy()
        return held

    def mistakes(self, rows: pd.DataFrame) -> Iterator[MusterError]:
        """What is wrong with it for a table that is at hand."""
        unknown = {place: column for place, column in self.columns.items() if column not in rows}
        for place, column in unknown.items():
            yield MusterError(place, f"{column!r} is no column of the table", nearest(column, rows.columns))
        if unknown:
            return
        try:
            held = self.held(rows)
        except MusterError as error:
            yield error
            return
        if held.all() or not held.any():
            found = f"it holds {'every' if held.all() else 'no'} row of {len(rows)}"
            yield MusterError(PLACE, found, "Hold out some of them")


def _numbers(rows: pd.DataFrame, column: str) -> Array:
    if not pd.api.types.is_numeric_dtype(rows[column]):
        raise MusterError(f"{PLACE}.column", f"column {column!r} is not numeric", "Name its values under `where`")
    return rows[column].to_numpy(float)


def rmse_log(predicted: Array, seen: Array) -> Array:
    """Root mean square of ln predicted − ln seen, over the last axis of predicted [..., M] and seen [M]."""
    return np.sqrt(((np.log(predicted) - np.log(seen)) ** 2).mean(axis=-1))


def mae(predicted: Array, seen: Array) -> Array:
    """Mean absolute error, in units of the response."""
    return np.abs(predicted - seen).mean(axis=-1)


def r2(predicted: Array, seen: Array) -> Array:
    """One less the mean squared error over the variance of what was seen; NaN where that does not vary."""
    variance = seen.var()
    return 1 - ((predicted - seen) ** 2).mean(axis=-1) / (variance if variance > 0 else np.nan)


METRICS: dict[str, Callable[[Array, Array], Array]] = {"rmse_log": rmse_log, "mae": mae, "r2": r2}


class Held(NamedTuple):
    """Predictions for runs that were held out, and what they came to.

    predicted, seen [M]; again [B, M]: what the bootstrap replicates predict, with `dof` degrees of freedom; labels [M]:
    of clusters, None where every row is its own.
    """

    predicted: Array
    seen: Array
    again: Array
    labels: np.ndarray | None
    dof: int


def metric(name: Metric, held: Held) -> Estimate:
    """A metric with the error that other runs and other parameters would give it.

    With clusters it is the mean over clusters of the metric in each, and its own error that of a mean over K of them,
    with K − 1 degrees of freedom; without, the metric of all rows, with the delete-one jackknife's error (Efron & Stein
    1981). The parameters are common to all: the variance over bootstrap replicates is added, and the degrees of freedom
    of the sum are Satterthwaite's (1946). No error from fewer than two clusters, or rows.
    """
    measure = METRICS[name]
    if held.labels is None:
        parts = [np.arange(len(held.seen))]
    else:
        parts = [np.flatnonzero(held.labels == label) for label in np.unique(held.labels)]

    def mean(predicted: Array) -> Array:
        return np.mean([measure(predicted[..., part], held.seen[part]) for part in parts], axis=0)

    value = float(mean(held.predicted))
    if held.labels is None:
        count = len(held.seen)
        rest = np.array([measure(np.delete(held.predicted, i), np.delete(held.seen, i)) for i in range(count)])
        own = float((count - 1) / count * ((rest - rest.mean()) ** 2).sum()) if count > 2 else np.nan
    else:
        count = len(parts)
        each = [float(measure(held.predicted[part], held.seen[part])) for part in parts]
        own = float(np.var(each, ddof=1) / count) if count > 1 else np.nan
    if len(held.again) < 2 or held.dof < 1 or not np.isfinite(own):
        return Estimate(value, np.nan, np.nan)
    shared = float(np.var(mean(held.again), ddof=1))
    total = own + shared
    both = total**2 / (own**2 / (count - 1) + shared**2 / held.dof) if total > 0 else float(held.dof)
    return Estimate(value, float(np.sqrt(total)), both)
