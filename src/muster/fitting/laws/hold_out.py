"""Rows that a law predicts instead of being fitted to them: which they are, and how well it does."""

from collections.abc import Callable, Iterator, Sequence
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
    """Rows that are left out of the fit and predicted: by conditions on any columns, above a limit of one, or all in
    turn."""

    column: str | None = Field(None, description="The column whose largest rows are held out")
    above: float | None = Field(None, description="Rows above this value of `column` are held out")
    quantile: float | None = Field(None, gt=0, lt=1, description="Rows above this quantile of `column` are held out")
    where: Filters = Field(
        default_factory=dict,
        description="Column → value, values or a condition such as {above: 1.0e+9}: rows that satisfy all are held out",
    )
    each: str | None = Field(
        None,
        description="Column of which each value's rows are held out in turn and predicted by the law refitted without "
        "them (leave one cluster out); parameters are those of all rows",
    )
    clusters: str | None = Field(
        None,
        description="Column of whose values all rows are held out together if any of them is: whole runs, families",
    )
    metrics: list[Metric] = Field(
        default_factory=list,
        description="Numbers beside extrapolation_error, each of one cluster and then their mean where the fit has "
        "clusters or `each` is given: rmse_log (root mean square of ln predicted − ln seen), mae (mean absolute "
        "error), r2 (share of the variance that is predicted)",
    )

    @model_validator(mode="after")
    def _some_limit(self) -> "HoldOut":
        limits = (self.above is not None) + (self.quantile is not None)
        if self.each is not None:
            if limits or self.column is not None or self.where or self.clusters is not None:
                raise ValueError("`each` holds every row out in turn: give it without `column`, `where` and `clusters`")
            return self
        if limits != (self.column is not None) or not (limits or self.where):
            raise ValueError(
                "give either `above` or `quantile` of a `column`, or conditions `where`, or both; or `each` alone"
            )
        return self

    @property
    def columns(self) -> dict[str, str]:
        """Option → the column that it names."""
        named = {
            "column": self.column,
            **{f"where.{name}": name for name in self.where},
            "clusters": self.clusters,
            "each": self.each,
        }
        return {f"{PLACE}.{option}": column for option, column in named.items() if column is not None}

    def held(self, rows: pd.DataFrame) -> np.ndarray:
        """Which rows the fit does not see [R]: none with `each`. Raises a MusterError for texts where numbers are
        compared."""
        held = np.full(len(rows), self.each is None)
        if self.column is not None and len(rows):
            values = _numbers(rows, self.column)
            limit = np.nanquantile(values, self.quantile) if self.quantile is not None else self.above
            held &= values > np.float64(limit)
        for column, wanted in self.where.items():
            held &= satisfies(rows[column], wanted, f"{PLACE}.where.{column}")
        if self.clusters is not None:
            held = rows[self.clusters].isin(rows[self.clusters][held]).to_numpy()
        return held

    def folds(self, rows: pd.DataFrame) -> list[np.ndarray]:
        """The rows [R] that are predicted together by one fit of the others: with `each` one fold for each value."""
        if self.each is None:
            return [self.held(rows)]
        return [(rows[self.each] == value).to_numpy() for value in rows[self.each].dropna().unique()]

    def mistakes(self, rows: pd.DataFrame) -> Iterator[MusterError]:
        """What is wrong with it for a table that is at hand."""
        unknown = {place: column for place, column in self.columns.items() if column not in rows}
        for place, column in unknown.items():
            yield MusterError(place, f"{column!r} is no column of the table", nearest(column, rows.columns))
        if unknown:
            return
        if self.each is not None:
            if (count := rows[self.each].nunique()) < 2:
                found = f"{self.each!r} has {count} value{'' if count == 1 else 's'} in {len(rows)} rows"
                yield MusterError(f"{PLACE}.each", found, "Name a column with several: each is predicted by the others")
            return
        try:
            held = self.held(rows)
        except MusterError as error:
            yield error
            return
        if held.all() or not held.any():
            found = f"it holds {'every' if held.all() else 'no'} row of {len(rows)}"
            yield MusterError(PLACE, found, "Hold out some of them")

    def too_few(self, rows: pd.DataFrame, parameters: int, clusters: str | None) -> MusterError | None:
        """Why the rows of one group, or their clusters, do not bear that one value of `each` is left out."""
        if self.each is None or rows[self.each].nunique() < 2:
            return None
        counts = rows[self.each].value_counts()
        units, left = ("clusters", len(counts) - 1) if clusters == self.each else ("rows", len(rows) - counts.max())
        if left > parameters:
            return None
        found = f"without {self.each} {counts.index[0]} there are {left} {units} for {parameters} parameters"
        remedy = f"Bring {parameters + 1 - left} more, fix parameters, or hold out by a condition"
        return MusterError(f"{PLACE}.each", found, remedy)


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
    of clusters, None where every row is its own. folds [M]: by which fit each was predicted, None where by one.
    """

    predicted: Array
    seen: Array
    again: Array
    labels: np.ndarray | None
    dof: int
    folds: np.ndarray | None = None

    @property
    def parts(self) -> list[np.ndarray]:
        """The rows of each fold."""
        if self.folds is None:
            return [np.arange(len(self.seen))]
        return [np.flatnonzero(self.folds == fold) for fold in np.unique(self.folds)]

    @property
    def known(self) -> bool:
        """Whether anything is known of how far other parameters would move the predictions."""
        return len(self.again) > 1 and self.dof > 0


def _shared(shares: Array, deviations: Sequence[float]) -> float:
    """Variance of a mean over folds, of shares that sum to 1, that their parameters bring. Fits that have all rows but
    a few in common move together: no correlation gives more than that their standard deviations add up."""
    return float(np.dot(shares, deviations) ** 2)


def relative_error(held: Held, alone: float) -> Estimate:
    """Mean over rows of |predicted − seen| / seen, and how far others would move it.

    Two errors add up. Held-out runs differ: the cluster-robust variance of a mean, with K − 1 degrees of freedom for K
    clusters (every row is its own without them), or that of one new run, `alone`, when there is only one cluster. All
    of a fold are predicted by the same parameters: the variance of their mean over bootstrap replicates. Degrees of
    freedom of the sum are Satterthwaite's (1946).
    """
    errors = np.abs(held.predicted / held.seen - 1)
    mean = float(errors.mean())
    if not held.known:
        return Estimate(mean, np.nan, np.nan)
    labels = np.arange(len(errors)) if held.labels is None else np.unique(held.labels, return_inverse=True)[1]
    count = int(labels.max()) + 1
    again = np.abs(held.again / held.seen - 1)
    parts = held.parts
    deviations = [float(again[:, part].mean(axis=1).std(ddof=1)) for part in parts]
    shared = _shared(np.array([len(part) for part in parts]) / len(errors), deviations)
    if count > 1:
        own = float((np.bincount(labels, errors - mean) ** 2).sum()) * count / (count - 1) / len(errors) ** 2
        own_dof = count - 1
    else:
        own, own_dof = alone, held.dof
    total = own + shared
    both = total**2 / (own**2 / own_dof + shared**2 / held.dof) if total > 0 else float(held.dof)
    return Estimate(mean, float(np.sqrt(total)), both)


def metric(name: Metric, held: Held) -> Estimate:
    """A metric with the error that other runs and other parameters would give it.

    With clusters it is the mean over clusters of the metric in each, and its own error that of a mean over K of them,
    with K − 1 degrees of freedom; without, the metric of all rows, with the delete-one jackknife's error (Efron & Stein
    1981). The parameters of a fold are common to its clusters: the variance over bootstrap replicates is added, and the
    degrees of freedom of the sum are Satterthwaite's (1946). No error from fewer than two clusters, or rows. Folds
    have labels: no cluster is in two of them.
    """
    measure = METRICS[name]
    labels = np.zeros(len(held.seen)) if held.labels is None else held.labels
    clusters = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def mean(predicted: Array, parts: Sequence[np.ndarray]) -> Array:
        return np.mean([measure(predicted[..., part], held.seen[part]) for part in parts], axis=0)

    value = float(mean(held.predicted, clusters))
    if held.labels is None:
        count, own = len(held.seen), np.nan
        if count > 2:
            rest = np.array([measure(np.delete(held.predicted, i), np.delete(held.seen, i)) for i in range(count)])
            own = float((count - 1) / count * ((rest - rest.mean()) ** 2).sum())
    else:
        count = len(clusters)
        each = [float(measure(held.predicted[part], held.seen[part])) for part in clusters]
        own = float(np.var(each, ddof=1) / count) if count > 1 else np.nan
    if not held.known or not np.isfinite(own):
        return Estimate(value, np.nan, np.nan)
    folds = [[part for part in clusters if np.isin(part[0], fold)] for fold in held.parts]
    deviations = [float(mean(held.again, parts).std(ddof=1)) for parts in folds]
    shared = _shared(np.array([len(parts) for parts in folds]) / len(clusters), deviations)
    total = own + shared
    both = total**2 / (own**2 / (count - 1) + shared**2 / held.dof) if total > 0 else float(held.dof)
    return Estimate(value, float(np.sqrt(total)), both)
