"""Means over seeds of which some were not run everywhere: what was not run is no loss, and no failure either."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def connected(known: Mask) -> bool:
    """Whether seeds (rows) link all columns of known [S, K], so that additive effects of both can be told apart
    (Searle 1987, Linear Models for Unbalanced Data, section 5.3)."""
    reached = np.zeros(known.shape[1], bool)
    reached[:1] = True
    while True:
        seeds = known[:, reached].any(axis=1)
        further = reached | known[seeds].any(axis=0)
        if (further == reached).all():
            return bool(reached.all())
        reached = further


def paired_rows(values: Array) -> Array:
    """values [S, K], NaN where a seed was not run at a column, as rows whose offsets may be taken out.

    Seeds of one column alone say nothing about differences of columns and are left out where the others link all
    columns. Where seeds link nothing (each run has its own) they pair nothing: the runs of a column are replicates,
    in rows by their rank of appearance. Columns without a value stay.
    """
    known = np.isfinite(values)
    if known.all():
        return values
    filled = known.any(axis=0)
    several = known.sum(axis=1) > 1
    if several.any() and connected(known[several][:, filled]):
        return values[several]
    if connected(known[:, filled]):
        return values
    replicates = np.full((int(known.sum(axis=0).max()), values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        own = values[known[:, column], column]
        replicates[: len(own), column] = own
    return replicates


def column_means(values: Array) -> Array:
    """Mean of each column of values [S, K] over seeds, adjusted for which seeds were run there; NaN without any.

    Complete rows: the plain mean. Else least squares of y_sk = offset_s + mean_k over what is known (Yates 1934),
    offsets with mean 0: a seed that was run only where the loss is low does not pull these columns down. Where seeds do
    not link the columns the offsets are taken to be 0.
    """
    known = np.isfinite(values)
    if known.all():
        return np.asarray(values.mean(axis=0))
    means = np.full(values.shape[1], np.nan)
    filled = known.any(axis=0)
    part, seen = values[:, filled], known[:, filled]
    counts = seen.sum(axis=0)
    zeroed = np.where(seen, part, 0.0)
    if not connected(seen):
        means[filled] = zeroed.sum(axis=0) / counts
        return means
    used = seen.any(axis=1)
    zeroed, seen = zeroed[used], seen[used].astype(float)
    seeds = len(seen)
    normal = np.block([[np.diag(seen.sum(axis=1)), seen], [seen.T, np.diag(counts)]])
    right = np.concatenate([zeroed.sum(axis=1), zeroed.sum(axis=0)])
    solved = np.linalg.lstsq(normal, right, rcond=None)[0]
    means[filled] = solved[seeds:] + solved[:seeds].mean()
    return means


def complete_rows(values: Array) -> Array:
    """The rows of values [S, K] without a gap."""
    return values[np.isfinite(values).all(axis=1)]
