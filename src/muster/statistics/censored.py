"""Interval regression: a line through optima of which some are known only to lie between two learning rates.

statsmodels' `GenericLikelihoodModel` maximizes such a likelihood numerically, one data set at a time. Written in
Olsen's coordinates it is concave, so that a few Newton steps solve a whole batch at once, which simulations need.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muster.statistics.linear import Estimate

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
        design = np.column_stack([np.ones_like(x), x])
        beta, cov, sigma = _solve(design, low[usable], high[usable], present[usable], exact[usable], exact[usable])
        found[:, usable] = beta[:, 1], np.sqrt(cov[:, 1, 1]), exact[usable].sum(axis=1) - 2, beta[:, 0], sigma
    return IntervalRegression(*found)


class IntervalPlane(NamedTuple):
    """Coefficients [p], their covariance [p, p], t degrees of freedom and residual standard deviation."""

    beta: Array
    cov: Array
    dof: int
    sigma: float


def interval_plane(design: ArrayLike, low: ArrayLike, high: ArrayLike) -> IntervalPlane | None:
    """The same regression on a design [W, p], full rank, first column 1, where every y may be known as an interval
    only, low and high [W].

    None where a plane runs through all intervals: the likelihood then grows without end as σ falls to 0. Errors and
    degrees of freedom as above, with n the number of y that are bounded on both sides; n ≤ p gives None as well.
    """
    from scipy.optimize import linprog

    design, low, high = (np.asarray(each, float) for each in (design, low, high))
    known = np.isfinite(low) & np.isfinite(high)
    n, p = int(known.sum()), design.shape[1]
    if n <= p:
        return None
    rows = np.vstack([design[np.isfinite(high)], -design[np.isfinite(low)]])
    ends = np.concatenate([high[np.isfinite(high)], -low[np.isfinite(low)]])
    if linprog(np.zeros(p), A_ub=rows, b_ub=ends, bounds=(None, None)).status == 0:
        return None
    present = np.ones((1, len(low)), bool)
    beta, cov, sigma = _solve(design, low[None], high[None], present, (low == high)[None], known[None])
    return None if np.isnan(beta).any() else IntervalPlane(beta[0], cov[0], n - p, float(sigma[0]))


def plane_given_sigma(design: ArrayLike, low: ArrayLike, high: ArrayLike, sigma: float) -> Array:
    """Coefficients [p] of the same regression where the scatter σ is given; NaN if they were not found.

    With 1/σ held the logarithm stays concave in β/σ, and it has a maximum wherever the bounded y span the design, also
    where a plane runs through all intervals.
    """
    design, low, high = (np.asarray(each, float) for each in (design, low, high))
    known, present = np.isfinite(low) & np.isfinite(high), np.ones((1, len(low)), bool)
    return _solve(design, low[None], high[None], present, (low == high)[None], known[None], sigma)[0][0]


def slope_interval_censored(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> Estimate:
    """The slope of one data set, low and high [W], as `interval_regression` finds it."""
    fit = interval_regression(x, low, high)
    return Estimate(float(fit.slope[0]), float(fit.se[0]), float(fit.dof[0]), float(fit.intercept[0]))


def _solve(
    design: Array, low: Array, high: Array, present: Mask, exact: Mask, known: Mask, sigma: float | None = None
) -> tuple[Array, Array, Array]:
    """β [B, p], its covariance [B, p, p] and σ [B], found in units where the known y and the columns of the design are
    centred and spread by 1. known: y that are exact or bounded on both sides, of which a scale can be had. sigma: σ if
    it is given; the covariance is then that of β at this σ."""
    (batch, _), p = low.shape, design.shape[1]
    n = known.sum(axis=1)
    middle = np.where(known, low, 0.0) / 2 + np.where(known, high, 0.0) / 2
    centre = middle.sum(axis=1) / n
    scale = np.sqrt(np.square(np.where(known, middle - centre[:, None], 0.0)).sum(axis=1) / n)
    scale = np.where(scale > 0, scale, 1.0)
    low, high = ((side - centre[:, None]) / scale[:, None] for side in (low, high))
    to_units = np.eye(p)
    to_units[0, 1:] = -design[:, 1:].mean(axis=0)
    to_units[:, 1:] /= design[:, 1:].std(axis=0)
    given = None if sigma is None else scale / sigma
    theta, information = _newton(design @ to_units, low, high, present, exact, known, given)
    lost = ~np.isfinite(theta).all(axis=1)
    information[lost] = np.eye(p + 1)
    h = theta[:, -1]
    # Delta method for β = θ / h.
    direction = np.concatenate(
        [np.broadcast_to(np.eye(p), (batch, p, p)) / h[:, None, None], -theta[:, :-1, None] / h[:, None, None] ** 2], 2
    )
    inflation = scale**2 * n / np.maximum(n - p, 1)
    cov = direction @ np.linalg.inv(information) @ np.swapaxes(direction, 1, 2) * inflation[:, None, None]
    beta = (theta[:, :-1] / h[:, None] * scale[:, None]) @ to_units.T
    beta[:, 0] += centre
    return beta, to_units @ cov @ to_units.T, scale / h


def _newton(
    x: Array, low: Array, high: Array, present: Mask, exact: Mask, known: Mask, given: Array | None = None
) -> tuple[Array, Array]:
    """θ = (β, 1)/σ [B, p + 1] at the maximum over the design x [W, p], and minus the Hessian there; NaN rows where it
    was not found. given: 1/σ [B], if it is held."""

    def likelihood(theta: Array) -> tuple[Array, Array, Array]:
        value, gradient, information = _loglik(theta, x, low, high, present, exact, known)
        if given is not None:
            gradient[:, -1] = information[:, -1, :] = information[:, :, -1] = 0.0
            information[:, -1, -1] = 1.0
        return value, gradient, information

    theta = _start(x, low, high, known)
    if given is not None:
        theta *= (given / theta[:, -1])[:, None]
    value, gradient, information = likelihood(theta)
    for _ in range(NEWTON_STEPS):
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        gain = np.einsum("bi,bi->b", gradient, step)  # twice the rise that the quadratic promises
        if (gain < 1e-16).all():
            break
        # 1/σ stays positive: it may at most halve in one step.
        size = np.minimum(1.0, -theta[:, -1] / (2 * np.minimum(step[:, -1], -1e-300)))
        for _ in range(HALVINGS):
            trial = theta + size[:, None] * step
            better = likelihood(trial)[0] >= value - 1e-12 * (1 + np.abs(value))
            if better.all():
                break
            size = np.where(better, size, size / 2)
        theta = np.where(better[:, None], trial, theta)
        value, gradient, information = likelihood(theta)
    theta[~(gain < 1e-10)] = np.nan
    return theta, information


def _start(x: Array, low: Array, high: Array, known: Mask) -> Array:
    """Least squares through the known y, with σ large enough that no point lies far beyond its bounds."""
    weights = known.astype(float)
    y = np.where(known, low, 0.0) / 2 + np.where(known, high, 0.0) / 2
    normal = np.einsum("bw,wi,wj->bij", weights, x, x)
    beta = np.linalg.solve(normal, np.einsum("bw,wi->bi", y, x)[:, :, None])[:, :, 0]
    line = beta @ x.T
    beyond = np.fmax(np.fmax(low - line, line - high), 0.0)  # fmax: absent points are NaN
    sigma = np.maximum(np.sqrt(np.square(beyond).sum(axis=1) / weights.sum(axis=1)), FLOOR)
    return np.column_stack([beta, np.ones(len(beta))]) / sigma[:, None]


def _loglik(
    theta: Array, x: Array, low: Array, high: Array, present: Mask, exact: Mask, known: Mask
) -> tuple[Array, Array, Array]:
    """Log likelihood [B], gradient [B, p + 1] and minus Hessian [B, p + 1, p + 1] in θ = (β, 1)/σ."""
    h, n, floor = theta[:, -1], exact.sum(axis=1), known.sum(axis=1) * FLOOR**2
    za, rows_a = _standardize(theta, x, low, -np.inf)
    zb, rows_b = _standardize(theta, x, high, np.inf)
    log_p, pa, pb = _interval_probability(za, zb, present & ~exact)
    residual, rows = np.where(exact, za, 0.0), rows_a * exact[:, :, None]
    censored = pb[:, :, None] * rows_b - pa[:, :, None] * rows_a
    value = log_p.sum(axis=1) + n * np.log(h) - 0.5 * (np.square(residual).sum(axis=1) + floor * h**2)
    gradient = (censored - residual[:, :, None] * rows).sum(axis=1)
    gradient[:, -1] += n / h - floor * h
    curve_a, curve_b = (np.where(p > 0, z, 0.0) * p for z, p in ((za, pa), (zb, pb)))
    information = (
        np.einsum("bw,bwi,bwj->bij", curve_b, rows_b, rows_b)
        - np.einsum("bw,bwi,bwj->bij", curve_a, rows_a, rows_a)
        + np.einsum("bwi,bwj->bij", censored, censored)
        + np.einsum("bwi,bwj->bij", rows, rows)
    )
    information[:, -1, -1] += n / h**2 + floor
    return value, gradient, information


def _standardize(theta: Array, x: Array, bound: Array, beyond: float) -> tuple[Array, Array]:
    """z = (bound − xβ)/σ [B, W], `beyond` where there is no bound, and its gradient in θ [B, W, p + 1]."""
    finite = np.isfinite(bound)
    t = np.where(finite, bound, 0.0)
    z = theta[:, -1:] * t - theta[:, :-1] @ x.T
    return np.where(finite, z, beyond), np.concatenate([np.broadcast_to(-x, (len(t), *x.shape)), t[:, :, None]], axis=2)


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
