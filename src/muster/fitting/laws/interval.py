"""Intervals and tests of a fitted law: bootstrap by cluster, sandwich covariance, profile, Wald test, influence."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from muster.fitting.laws.base import Array, Law
from muster.fitting.laws.solve import GRADIENT_TOLERANCE, LawFit, bounds, solve
from muster.statistics.linear import Estimate

# Where a profile is first looked at, in standard errors from the minimum; then how often each bracket is cut in eight.
_LADDER = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 9.0, 14.0, 25.0, 50.0, 100.0)
_CUTS = 3
MONTE_CARLO = 1.645  # standard errors of a bootstrap end by which it is moved outwards: one-sided 95 %


def resample_weights(rows: int, clusters: ArrayLike | None, replicates: int, seed: int) -> Array:
    """Multinomial weights [B, R]: how often each row, or each whole cluster of rows, is drawn with replacement."""
    labels = np.arange(rows) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(labels.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=replicates)
    return draws[:, labels].astype(float)


def refit(fit: LawFit, x: Array, y: Array, weights: Array) -> Array:
    """θ [B, P] under weights [B, R], started at the fit; NaN where a refit did not converge."""
    found = solve(fit.law, x, y, weights, np.tile(fit.theta, (len(weights), 1)), fit.delta, fit.held, warm=True)
    return np.where(found.gradient[:, None] < GRADIENT_TOLERANCE, found.theta, np.nan)


def bootstrap(
    fit: LawFit, x: Array, y: Array, clusters: ArrayLike | None = None, replicates: int = 1000, seed: int = 0
) -> Array:
    """Refits θ [B, P] to rows drawn with replacement (Efron 1979), or to whole clusters of rows (Field & Welsh 2007).

    x [V, R], y [R], clusters: labels [R]. δ is that of the fit. A replicate that does not converge, or has fewer
    designs than parameters, is NaN.

    Resamples of
    a finite table are too alike: deviations from the fit are widened by √(R/(R − P)), or √(G/(G − 1)) for G clusters,
    the factors that the sandwich covariance has.
    """
    weights = resample_weights(len(y), clusters, replicates, seed)
    designs = np.unique(x, axis=1, return_inverse=True)[1].ravel()
    drawn = (weights @ np.eye(designs.max() + 1)[designs] > 0).sum(axis=1)
    # Fewer designs than parameters leave a refit where it started: it would look far too certain.
    theta = np.where((drawn >= fit.free.sum())[:, None], refit(fit, x, y, weights), np.nan)
    units = len(y) if clusters is None else len(np.unique(np.asarray(clusters)))
    lost = int(fit.free.sum()) if clusters is None else 1
    box = bounds(fit.law, fit.held)
    return np.clip(fit.theta + np.sqrt(units / max(units - lost, 1)) * (theta - fit.theta), box.low, box.high)


def ends(replicates: Array) -> tuple[float, float]:
    """2.5 and 97.5 % points of replicates [B], each moved outwards by 1.645 of its Monte-Carlo standard errors.

    The ranks of a sample quantile have the standard error √(p(1 − p)/B) (Woodruff 1952): with another seed, an end of
    infinitely many replicates lies outside these in one case of twenty, so that no margin is decided by the seed.
    """
    tail = 0.025
    tail = max(tail - MONTE_CARLO * np.sqrt(tail * (1 - tail) / len(replicates)), 0.0)
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def widened(fit: LawFit, replicates: Array, dof: int) -> Array:
    """Replicates θ [B, P] with their deviations from the fit multiplied by t/z at 97.5 %: their percentiles then allow
    for a spread that was estimated from few units, as a t interval does (Hesterberg 2015, § 5.3). dof: as `unit_dof`.
    """
    from scipy import stats

    box = bounds(fit.law, fit.held)
    factor = float(stats.t.ppf(0.975, dof) / stats.norm.ppf(0.975))
    return np.clip(fit.theta + factor * (replicates - fit.theta), box.low, box.high)


def row_estimate(value: float, low: float, high: float, dof: int, edge: float = -np.inf) -> Estimate:
    """A number with interval [low, high], and the standard error whose t tests say no more than that interval does.

    A row of the ledger is tested by t from estimate, se and dof alone: se is the longer side over t's 97.5 % quantile,
    so that no bound inside the interval is ever rejected at 2.5 %. low at `edge`, the least value that there is: the
    interval is one-sided, and nothing shows that the value is larger than the edge, not at 5 % either.
    """
    one, two = Estimate(0.0, 1.0, dof).interval(0.9)[1], Estimate(0.0, 1.0, dof).interval()[1]
    se = max(value - low, high - value) / two
    if low <= edge:
        se = max(se, (value - edge) / one * (1 + 1e-9))
    return Estimate(value, se, dof, ci=(low, high))


def influence(fit: LawFit, x: Array, y: Array) -> Array:
    """Leave-one-row-out refits θ [R, P]."""
    return refit(fit, x, y, 1 - np.eye(len(y)))


def sandwich(fit: LawFit, x: Array, clusters: ArrayLike | None = None) -> Array:
    """Covariance [P, P] of θ: H⁻¹ M H⁻¹ with scores summed by row or cluster (Huber 1967; Cameron & Miller 2015).

    H is the Gauss–Newton curvature of the rows inside δ; M is scaled by R/(R − P), or G/(G − 1) for clusters. Held
    parameters have zeros. Infinite when the curvature is singular.
    """
    rows, free = len(fit.residuals), fit.free
    jacobian = fit.law.log_value(fit.theta[None], x)[1][0][:, free]
    inside = np.abs(fit.residuals) <= fit.width
    scores = np.clip(fit.residuals, -fit.width, fit.width)[:, None] * jacobian
    if clusters is None:
        scale = rows / max(rows - free.sum(), 1)
    else:
        labels = np.unique(np.asarray(clusters), return_inverse=True)[1]
        scores = np.stack([np.bincount(labels, column) for column in scores.T], axis=1)
        scale = len(scores) / max(len(scores) - 1, 1)
    cov = np.zeros((len(free), len(free)))
    length = np.linalg.norm(jacobian, axis=0)
    curvature = (jacobian[inside] / length).T @ (jacobian[inside] / length)
    if np.linalg.matrix_rank(curvature, tol=1e-13 * max(rows, 1)) < len(curvature):
        cov[np.ix_(free, free)] = np.inf
        return cov
    bread = np.linalg.inv(curvature) / np.outer(length, length)
    cov[np.ix_(free, free)] = scale * bread @ (scores.T @ scores) @ bread
    return cov


def pressed(fit: LawFit, x: Array, parameter: str, clusters: ArrayLike | None = None) -> float:
    """How far beyond its bound a Gauss–Newton step would carry a parameter that ended there, in standard errors.

    Negative: outwards. Around −1 where the truth lies at the bound; far below, the law is not that of these rows.
    """
    at, free = fit.law.parameters.index(parameter), fit.free
    jacobian = fit.law.log_value(fit.theta[None], x)[1][0][:, free]
    inside = np.abs(fit.residuals) <= fit.width
    length = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / length
    scores = scaled.T @ np.clip(fit.residuals, -fit.width, fit.width)
    step = np.linalg.lstsq(scaled[inside].T @ scaled[inside], scores, rcond=None)[0] / length
    error = float(np.sqrt(sandwich(fit, x, clusters)[at, at]))
    return float(step[int(free[:at].sum())] / error) if error > 0 else 0.0


def wald(
    fit: LawFit, cov: Array, published: Mapping[str, float], residual_dof: int | None = None
) -> tuple[float, int, float]:
    """Wald statistic W of published natural values of some or all parameters, its degrees of freedom q, and p.

    p is that of W/q under F(q, residual_dof), which allows for an estimated covariance; residual_dof is R − P unless
    given (clusters less parameters). cov [P, P] is the covariance of θ: the distance is measured where estimates are
    nearly normal (ln A rather than A). (NaN, q, NaN) when it is singular.
    """
    from scipy import stats

    at = [fit.law.parameters.index(name) for name in published]
    natural = np.array([[published.get(name, value) for name, value in fit.natural.items()]])
    difference = (fit.law.from_natural(natural)[0] - fit.theta)[at]
    block = cov[np.ix_(at, at)]
    if not np.isfinite(block).all() or not np.isfinite(difference).all() or np.linalg.matrix_rank(block) < len(at):
        return np.nan, len(at), np.nan
    statistic = float(difference @ np.linalg.solve(block, difference))
    dof = fit.dof if residual_dof is None else residual_dof
    return statistic, len(at), float(stats.f.sf(statistic / len(at), len(at), dof))


def drop_scale(residuals: Array, delta: float, parameters: int) -> Array:
    """What a drop 2 Δobjective is divided by to be compared with F(1, R − P): mean ψ² / mean ψ′ of residuals [..., R],
    the former with R − P degrees of freedom (Ronchetti 1982; Hampel et al. 1986, § 7.2). Least squares: the variance.
    """
    scores = np.clip(residuals, -delta, delta)
    slope = (np.abs(residuals) <= delta).mean(axis=-1)
    return np.asarray((scores**2).sum(axis=-1) / (residuals.shape[-1] - parameters) / slope)


def profile(fit: LawFit, x: Array, y: Array, parameter: str, level: float = 0.95) -> tuple[float, float]:
    """Interval of one parameter by the profile of the objective, all others refitted at each of its values.

    With least squares it is the profile-likelihood interval of normal errors (Bates & Watts 1988, § 6.1), with Huber's
    loss its robust form (`drop_scale`). Rows must be independent and equally noisy. An end where the profile stays
    flat up to the law's bound is the edge of the parameter's range: 0 for what must be positive, ±∞ else.
    """
    from scipy import stats

    at = fit.law.parameters.index(parameter)
    if not fit.free[at] or fit.dof <= 0:
        return np.nan, np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = float(drop_scale(fit.residuals, fit.width, int(fit.free.sum())))
    if not (np.isfinite(scale) and scale > 0):
        return np.nan, np.nan
    limit = fit.objective + float(stats.f.ppf(level, 1, fit.dof)) * scale / 2
    low, high = (_crossing(fit, x, y, at, side, limit) for side in (-1, 1))
    return max(_natural(fit.law, at, low), lower_edge(fit.law, parameter)), _natural(fit.law, at, high)


def lower_edge(law: Law, parameter: str) -> float:
    """The smallest value that a parameter can have: 0 for one that is bounded by zero or lives on a log scale."""
    if law.bounds.get(parameter, (-np.inf, np.inf))[0] == 0:
        return 0.0
    return _natural(law, law.parameters.index(parameter), -np.inf)


def _natural(law: Law, at: int, value: float) -> float:
    """The natural value of coordinate `at`; ±∞ gives the ends of its range."""
    theta = np.zeros((1, len(law.parameters)))
    theta[0, at] = value
    with np.errstate(over="ignore", invalid="ignore"):
        return float(law.to_natural(theta)[0, at])


def _crossing(fit: LawFit, x: Array, y: Array, at: int, side: int, limit: float) -> float:
    """Where the profile of coordinate `at` first rises above `limit` on one side; ±∞ when it does not up to the bound.

    A ladder of values brackets the crossing, then the bracket is cut in eight a few times; all values of a round are
    solved at once.
    """
    cov = sandwich(fit, x)
    centre, variance = fit.theta[at], cov[at, at]
    known = np.isfinite(variance) and variance > 0
    ridge = cov[:, at] / variance if known else np.zeros(len(cov))
    box = bounds(fit.law)
    bound = box.low[at] if side < 0 else box.high[at]
    values = centre + side * (np.sqrt(variance) if known else 0.1) * np.array(_LADDER)
    values = np.append(values[side * values < side * bound], bound)
    values = values[np.isfinite(values)]
    begin, height, guide = centre, fit.objective, fit.theta
    for cut in range(_CUTS + 1):
        guesses = (fit.theta + np.outer(values - centre, ridge), np.tile(guide, (len(values), 1)))
        heights, thetas = _heights(fit, x, y, at, values, np.stack(guesses), warm=cut > 0)
        above = np.flatnonzero(heights > limit)
        if not len(above):
            return side * np.inf if cut == 0 else float(values[-1])
        first = int(above[0])
        if first:
            begin, height = values[first - 1], heights[first - 1]
        end, rise, guide = values[first], heights[first], thetas[first]
        values = np.linspace(begin, end, 9)[1:]
    return float(begin + (end - begin) * (limit - height) / (rise - height))


def _heights(
    fit: LawFit, x: Array, y: Array, at: int, values: Array, guesses: Array, warm: bool
) -> tuple[Array, Array]:
    """The least objective [K] with coordinate `at` held at each value [K], and its place [K, P], from guesses [G, K, P]
    of the other coordinates."""
    guesses[:, :, at] = values
    box = bounds(fit.law)
    starts = np.clip(guesses.reshape(-1, len(fit.theta)), box.low, box.high)
    found = solve(fit.law, x, y, None, starts, fit.delta, (*fit.held, fit.law.parameters[at]), warm)
    heights = np.where(np.isfinite(found.gradient), found.objective, np.inf).reshape(len(guesses), -1)
    best = heights.argmin(axis=0)
    return heights.min(axis=0), found.theta.reshape(guesses.shape)[best, np.arange(len(values))]
