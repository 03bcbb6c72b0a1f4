"""Prediction from a fitted law: intervals for new runs, and how they do on runs that were held out."""

from typing import NamedTuple

import numpy as np

from muster.fitting.laws.base import Array
from muster.fitting.laws.hold_out import Held, relative_error
from muster.fitting.laws.solve import LawFit
from muster.statistics.linear import Estimate


class Spread(NamedTuple):
    """Standard deviations of ln y around the law: between designs, and between seeds of one design (0 if none is
    repeated: the seeds' share is then part of `between`)."""

    between: float
    seed: float


class Prediction(NamedTuple):
    """Centre, low and high end for each new row, in units of the response."""

    centre: Array
    low: Array
    high: Array


def spread(fit: LawFit, x: Array) -> Spread:
    """Split the residual variance at x [V, R] by one-way analysis of variance over rows of equal x (Searle et al. 1992,
    § 3.6); a between-design variance below zero counts as zero."""
    labels = np.unique(x, axis=1, return_inverse=True)[1].ravel()
    counts = np.bincount(labels)
    means = np.bincount(labels, fit.residuals) / counts
    rows, designs = len(labels), len(counts)
    if rows == designs:
        return Spread(float(np.sqrt((fit.residuals**2).sum() / max(fit.dof, 1))), 0.0)
    within = float(((fit.residuals - means[labels]) ** 2).sum()) / (rows - designs)
    # The law's parameters were estimated from the designs, so they cost the designs degrees of freedom.
    dof = max(designs - int(fit.free.sum()), 1)
    size = (rows - (counts**2).sum() / rows) / max(designs - 1, 1)
    between = max(float((counts * means**2).sum()) / dof - within, 0.0) / size
    return Spread(float(np.sqrt(between)), float(np.sqrt(within)))


def predict_interval(
    fit: LawFit,
    replicates: Array,
    x_new: Array,
    between_sd: float,
    seed_sd: float,
    level: float = 0.95,
    dof: int | None = None,
) -> Prediction:
    """Interval for one new run at each column of x_new [V, M], from bootstrap replicates θ [B, P].

    On the log scale the variances of the parameters (over replicates), between runs and between seeds add up, with
    t quantiles of R − P degrees of freedom unless `dof` is given (clusters less parameters). Replicates that did not
    converge (NaN) are left out.
    """
    from scipy import stats

    centre = fit.law.log_value(fit.theta[None], x_new)[0][0]
    good = converged(replicates)
    parameter = fit.law.log_value(good, x_new)[0].std(axis=0, ddof=1) if len(good) > 1 else np.full(len(centre), np.inf)
    half = stats.t.ppf(0.5 + level / 2, max(fit.dof if dof is None else dof, 1)) * np.sqrt(
        parameter**2 + between_sd**2 + seed_sd**2
    )
    return Prediction(np.exp(centre), np.exp(centre - half), np.exp(centre + half))


def held_out(
    fit: LawFit,
    replicates: Array,
    x: Array,
    x_new: Array,
    y_new: Array,
    level: float = 0.95,
    dof: int | None = None,
) -> dict[str, float]:
    """How a fit to x predicts the runs x_new [V, M], y_new [M] that it has not seen.

    rows; error: mean of |predicted − seen| / seen; bias: mean of (predicted − seen) / seen; coverage: share of runs
    inside their interval of the given level.
    """
    sds = spread(fit, x)
    prediction = predict_interval(fit, replicates, x_new, sds.between, sds.seed, level, dof)
    relative = prediction.centre / y_new - 1
    inside = (prediction.low <= y_new) & (y_new <= prediction.high)
    return {
        "rows": len(y_new),
        "error": float(np.abs(relative).mean()),
        "bias": float(relative.mean()),
        "coverage": float(inside.mean()),
        "level": level,
        "between_sd": sds.between,
        "seed_sd": sds.seed,
    }


def extrapolation_error(
    fit: LawFit, replicates: Array, x: Array, x_new: Array, y_new: Array, clusters: np.ndarray | None, dof: int
) -> Estimate:
    """Mean relative error of the held-out rows x_new [V, M], y_new [M], by one fit to x [V, R] (`relative_error`).

    clusters: labels [M], None where every row is its own; dof: of the bootstrap replicates θ [B, P].
    """
    sds = spread(fit, x)
    predicted, again = (np.exp(fit.law.log_value(each, x_new)[0]) for each in (fit.theta[None], converged(replicates)))
    return relative_error(Held(predicted[0], y_new, again, clusters, dof), sds.between**2 + sds.seed**2)


def converged(replicates: Array) -> Array:
    """Those bootstrap replicates θ [B, P] that converged."""
    return replicates[np.isfinite(replicates).all(axis=1)]
