"""How many independent units stand behind a fit, and whether rows that look independent are."""

from collections.abc import Sequence

import numpy as np

from muster.fitting.laws.base import Array
from muster.fitting.laws.solve import LawFit

_SHARED = 2  # rows for each value of a variable, from which on they look like runs, or checkpoints, of one model
_ALIKE_P = 0.01


def unit_dof(fit: LawFit, clusters: np.ndarray | None) -> int:
    """Independent units, rows or clusters, less estimated parameters: degrees of freedom of every interval.

    With no more clusters than parameters a law can pass through what the clusters share: resamples then differ by what
    the clusters do not share, and look far too certain (three sizes of models: 1 % of nominal 95 % intervals covered).
    """
    if clusters is None:
        return fit.dof
    return len(np.unique(clusters)) - int(fit.free.sum())


def too_few_clusters(fit: LawFit, clusters: np.ndarray | None) -> str:
    """Why clusters leave no interval, or nothing."""
    if clusters is None or unit_dof(fit, clusters) > 0:
        return ""
    count = len(np.unique(clusters))
    return f"{count} clusters for {int(fit.free.sum())} parameters: no interval can be had"


def shared_levels(x: Array, columns: Sequence[str]) -> list[tuple[str, int]]:
    """Variables of x [V, R] whose values are shared by two rows or more on average, and how many values they take."""
    found = [(column, len(np.unique(row))) for column, row in zip(columns, x, strict=True)]
    return [(column, count) for column, count in found if count > 1 and _SHARED * count <= x.shape[1]]


def question(x: Array, columns: Sequence[str]) -> str:
    """What a study that names no `clusters` is asked when rows share the values of a variable; empty if they do not."""
    shared = shared_levels(x, columns)
    if not shared:
        return ""
    told = " and ".join(f"{count} values of {column}" for column, count in shared)
    return f"{x.shape[1]} rows share {told}: name their `clusters`, or say `clusters: false` if they are independent"


def alike(residuals: Array, x: Array, columns: Sequence[str]) -> str:
    """The variable within whose values residuals [R] agree more than between them, and the p of that; empty if none.

    One-way analysis of variance (Searle et al. 1992, § 3.6) at 1 %, Bonferroni over variables. Rows of one size that
    share an error cover .62 when they count as independent.
    """
    from scipy import stats

    shared = [column for column, _ in shared_levels(x, columns)]
    for column in shared:
        labels = np.unique(x[list(columns).index(column)], return_inverse=True)[1]
        counts = np.bincount(labels)
        means = np.bincount(labels, residuals) / counts
        within = float(((residuals - means[labels]) ** 2).sum())
        between = float((counts * (means - residuals.mean()) ** 2).sum())
        dof = len(counts) - 1, len(labels) - len(counts)
        if within <= 0:
            continue
        p = float(stats.f.sf(between / within * dof[1] / dof[0], *dof))
        if p < _ALIKE_P / len(shared):
            return f"residuals of one value of {column} agree (p = {p:.1g})"
    return ""
