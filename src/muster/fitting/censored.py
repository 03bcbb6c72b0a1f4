"""Interval regression: a line through optima of which some are known only to lie between two learning rates.

statsmodels' `GenericLikelihoodModel` maximizes such a likelihood numerically, one data set at a time. Written in
Olsen's coordinates it is concave, so that a few Newton steps solve a whole batch at once, which simulations need.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muster.fitting.linear import Estimate

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MIN_EXACT = 3
NEWTON_STEPS = 60
HALVINGS = 30
FLOOR = 1e-6  # least σ that is looked for, relative to the spread of the known y: noise-free points have no likelihood


class IntervalRegression(NamedTuple):
    """Slope, its standard error, t degrees of freedom, intercept and residual standard deviation, each [B]; NaN where
    the likelihood has no unique maximum."""

    slope: Array
    se: Array
    dof: Array
    intercept: Array
    sigma: Array


def interval_regression(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> IntervalRegression:
    """Normal regression of y on x [W], y known to lie in [low, high] (each [B, W], in y's units; ±inf where unbounded,
    equal where y is known exactly, both NaN where a point is absent).

    Maximum of Π φ((y − α − βx)/σ)/σ over known y, times Π [Φ((high − α − βx)/σ) − Φ((low − α − βx)/σ)] over the others
    (Tobin 1958; Stewart 1983). In (α, β, 1)/σ the logarithm is concave (Olsen 1978; Pratt 1981). Errors come from the
    observed information; with n known y, its inverse is multiplied by n / (n − 2) and t has n − 2 degrees of freedom,
    which is least squares when nothing is censored. Fewer than three known y give NaN.
    """
    x = np.asarray(x, float)
    low, high = np.atleast_2d(np.asarray(low, float)), np.atleast_2d(np.asarray(high, float))
    present, exact = ~np.isnan(low), low == high
    usable = exact.sum(axis=1) >= MIN_EXACT
    found = np.full((5, len(low)), np.nan)
    if usable.any():
        found[:, usable] = _solve(x, low[usable], high[usable], present[usable], exact[usable])
    return IntervalRegression(*found)


def slope_interval_censored(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> Estimate:
    """The slope of one data set, low and high [W], as `interval_regression` finds it."""
    fit = interval_regression(x, low, high)
    return Estimate(float(fit.slope[0]), float(fit.se[0]), float(fit.dof[0]), float(fit.intercept[0]))


def _solve(x: Array, low: Array, high: Array, present: Mask, exact: Mask) -> Array:
    """Rows of `IntervalRegression`, found in units where the known y are centred and spread by 1."""
    n = exact.sum(axis=1)
    centre, mid = np.where(exact, low, 0.0).sum(axis=1) / n, x.mean()
    scale = np.sqrt(np.square(np.where(exact, low - centre[:, None], 0.0)).sum(axis=1) / n)
    scale = np.where(scale > 0, scale, 1.0)
    spread = x.std()
    low, high = ((side - centre[:, None]) / scale[:, None] for side in (low, high))
    theta, information = _newton((x - mid) / spread, low, high, present, exact)
    lost = ~np.isfinite(theta).all(axis=1)
    information[lost] = np.eye(3)
    level, slope, h = theta.T
    # Delta method for β = slope / h.
    direction = np.column_stack([np.zeros_like(h), 1 / h, -slope / h**2])
    variance = np.einsum("bi,bij,bj->b", direction, np.linalg.inv(information), direction) * n / np.maximum(n - 2, 1)
    unit = scale / spread
    return np.array(
        [
            slope / h * unit,
            np.sqrt(variance) * unit,
            n - 2,
            centre + level / h * scale - slope / h * unit * mid,
            scale / h,
        ]
    )


def _newton(x: Array, low: Array, high: Array, present: Mask, exact: Mask) -> tuple[Array, Array]:
    """θ = (α, β, 1)/σ [B, 3] at the maximum, and minus the Hessian there [B, 3, 3]; NaN rows where it was not found."""
    theta = _start(x, low, high, exact)
    value, gradient, information = _loglik(theta, x, low, high, present, exact)
    for _ in range(NEWTON_STEPS):
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        gain = np.einsum("bi,bi->b", gradient, step)  # twice the rise that the quadratic promises
        if (gain < 1e-16).all():
            break
        # 1/σ stays positive: it may at most halve in one step.
        size = np.minimum(1.0, -theta[:, 2] / (2 * np.minimum(step[:, 2], -1e-300)))
        for _ in range(HALVINGS):
            trial = theta + size[:, None] * step
            better = _loglik(trial, x, low, high, present, exact)[0] >= value - 1e-12 * (1 + np.abs(value))
            if better.all():
                break
            size = np.where(better, size, size / 2)
        theta = np.where(better[:, None], trial, theta)
        value, gradient, information = _loglik(theta, x, low, high, present, exact)
    theta[~(gain < 1e-10)] = np.nan
    return theta, information


def _start(x: Array, low: Array, high: Array, exact: Mask) -> Array:
    """Least squares through the known y, with σ large enough that no point lies far beyond its bounds."""
    weights = exact.astype(float)
    design = np.column_stack([np.ones_like(x), x])
    y = np.where(exact, low, 0.0)
    normal = np.einsum("bw,wi,wj->bij", weights, design, design)
    beta = np.linalg.solve(normal, np.einsum("bw,wi->bi", y, design)[:, :, None])[:, :, 0]
    line = beta @ design.T
    beyond = np.fmax(np.fmax(low - line, line - high), 0.0)  # fmax: absent points are NaN
    sigma = np.maximum(np.sqrt(np.square(beyond).sum(axis=1) / weights.sum(axis=1)), FLOOR)
    return np.column_stack([beta, np.ones(len(beta))]) / sigma[:, None]


def _loglik(theta: Array, x: Array, low: Array, high: Array, present: Mask, exact: Mask) -> tuple[Array, Array, Array]:
    """Log likelihood [B], gradient [B, 3] and minus Hessian [B, 3, 3] in θ = (α, β, 1)/σ."""
    h, n = theta[:, 2], exact.sum(axis=1)
    za, rows_a = _standardize(theta, x, low, -np.inf)
    zb, rows_b = _standardize(theta, x, high, np.inf)
    log_p, pa, pb = _interval_probability(za, zb, present & ~exact)
    residual, rows = np.where(exact, za, 0.0), rows_a * exact[:, :, None]
    censored = pb[:, :, None] * rows_b - pa[:, :, None] * rows_a
    value = log_p.sum(axis=1) + n * np.log(h) - 0.5 * (np.square(residual).sum(axis=1) + n * (FLOOR * h) ** 2)
    gradient = (censored - residual[:, :, None] * rows).sum(axis=1)
    gradient[:, 2] += n / h - n * FLOOR**2 * h
    curve_a, curve_b = (np.where(p > 0, z, 0.0) * p for z, p in ((za, pa), (zb, pb)))
    information = (
        np.einsum("bw,bwi,bwj->bij", curve_b, rows_b, rows_b)
        - np.einsum("bw,bwi,bwj->bij", curve_a, rows_a, rows_a)
        + np.einsum("bwi,bwj->bij", censored, censored)
        + np.einsum("bwi,bwj->bij", rows, rows)
    )
    information[:, 2, 2] += n / h**2 + n * FLOOR**2
    return value, gradient, information


def _standardize(theta: Array, x: Array, bound: Array, beyond: float) -> tuple[Array, Array]:
    """z = (bound − α − βx)/σ [B, W], `beyond` where there is no bound, and its gradient in θ [B, W, 3]."""
    finite = np.isfinite(bound)
    t = np.where(finite, bound, 0.0)
    z = theta[:, 2:] * t - theta[:, :1] - theta[:, 1:2] * x
    return np.where(finite, z, beyond), np.stack([-np.ones_like(t), np.broadcast_to(-x, t.shape), t], axis=2)


def _interval_probability(za: Array, zb: Array, censored: Mask) -> tuple[Array, Array, Array]:
    """ln P of P = Φ(b) − Φ(a), φ(a)/P and φ(b)/P; 0 where not censored."""
    from scipy import special

    # Far in the upper tail, from z = 37 on, ln Φ rounds to 0: mirror it into the lower one.
    mirror = za > 0
    upper = special.log_ndtr(np.where(mirror, -za, zb))
    gap = special.log_ndtr(np.where(mirror, -zb, za)) - upper
    log_p = np.where(censored, upper + np.log(-np.expm1(np.where(censored, gap, -1.0))), 0.0)
    density_a, density_b = (
        np.exp(np.where(censored, -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_p, -np.inf)) for z in (za, zb)
    )
    return log_p, density_a, density_b
