"""The optimal learning rate of each shape: vertex of a weighted quadratic in log2(lr), with Fieller's interval.

The response is the logarithm of the loss: the basin (+0.25 %) is then a constant offset, seed noise is relative, and
the steep unstable side pulls less on a parabola than in the loss itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CURVATURE_T = 2.0
BASIN = np.log(1.0025)
ASYMMETRY_P = 0.05
ROUNDING = 1e-12  # ln loss differences below this are float noise


@dataclass(frozen=True)
class Sweep:
    """ln loss of one shape: `log_loss` [S seeds, G rates], NaN where diverged, over increasing `log2_lr` [G]."""

    x: float
    log2_lr: Array
    log_loss: Array


class Window(NamedTuple):
    """The points around the best rate: `offset` [K] from it in octaves, `log_loss` [S, K]."""

    grid_best: float
    offset: Array
    log_loss: Array

    @property
    def mean(self) -> Array:
        return self.log_loss.mean(axis=0)


@dataclass(frozen=True)
class Quadratic:
    """y = β₀ + β₁ u + β₂ u² by weighted least squares; `unscaled_cov` times the residual variance is Cov β."""

    beta: Array
    unscaled_cov: Array
    rss: float
    dof: int

    def vertex(self) -> float:
        return float(-self.beta[1] / (2 * self.beta[2]))

    def at(self, u: float) -> float:
        return float(np.polynomial.polynomial.polyval(u, self.beta))


@dataclass(frozen=True)
class Optimum:
    """The optimum of one shape in log2(lr). `status`: interior, edge, diverged or flat; numbers are NaN unless
    interior, but for `edge` the interval holds the neighbours that bracket the best rate (±inf at the end of the
    grid)."""

    x: float
    status: str
    log2_lr: float = np.nan
    se: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    loss: float = np.nan
    basin_low: float = np.nan
    basin_high: float = np.nan
    grid_best: float = np.nan
    n_points: int = 0
    n_runs: int = 0
    asymmetric: bool = False
    window: Window | None = None
    weights: Array | None = None

    def refit(self, seeds: NDArray[np.intp]) -> Quadratic:
        """The quadratic of some of the seeds (row numbers) on the same points with the same weights, in octaves from
        `grid_best`. Raises a ValueError when the shape had no window."""
        if self.window is None or self.weights is None:
            raise ValueError(f"no quadratic was fitted at {self.x:g}: {self.status}")
        return fit_quadratic(self.window.offset, self.window.log_loss[seeds].mean(axis=0), self.weights)


def find_window(sweep: Sweep, size: int, min_side: int) -> Window | Optimum:
    """The `size` rates around the lowest mean loss, or the Optimum that says why there are none.

    A rate at which any seed diverged is left out: the mean of the survivors would be a biased number.
    """
    finite = np.flatnonzero(np.isfinite(sweep.log_loss).all(axis=0))
    seeds = len(sweep.log_loss)
    if not len(finite):
        return Optimum(sweep.x, "diverged")
    means = sweep.log_loss[:, finite].mean(axis=0)
    best = int(means.argmin())
    grid_best = float(sweep.log2_lr[finite[best]])
    if min(best, len(finite) - 1 - best) < min_side or len(finite) < 4:
        above = finite[best] + 1
        return Optimum(
            sweep.x,
            "edge",
            ci_low=float(sweep.log2_lr[finite[best - 1]]) if best else -np.inf,
            ci_high=float(sweep.log2_lr[above]) if above < len(sweep.log2_lr) else np.inf,
            grid_best=grid_best,
            n_points=len(finite),
            n_runs=seeds * len(finite),
        )
    start = int(np.clip(best - size // 2, 0, max(len(finite) - size, 0)))
    chosen = finite[start : start + size]
    return Window(grid_best, sweep.log2_lr[chosen] - grid_best, sweep.log_loss[:, chosen])


def noise_slope(windows: Sequence[Window]) -> float:
    """d ln(seed variance) / d ln(loss), pooled over the windows; 0 unless it is significant (t > 2).

    The seeds' common offsets are taken out first: members share initial weights and batches, and an offset moves no
    vertex. That mixes a little of each point's noise into the others' and draws the slope towards 0, to equal weights.
    """
    excess, log_variance = [], []
    for window in windows:
        seeds, points = window.log_loss.shape
        if seeds < 2:
            continue
        y = window.log_loss
        residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
        variance = np.square(residual).sum(axis=0) / (seeds - 1) * points / (points - 1)
        # Rounding alone is no noise to learn from.
        seen = variance > ROUNDING**2
        excess.append((window.mean - window.mean.min())[seen])
        log_variance.append(np.log(variance[seen]))
    level, spread = np.concatenate([*excess, []]), np.concatenate([*log_variance, []])
    if len(level) < 4 or np.ptp(level) == 0:
        return 0.0
    from muster.statistics.linear import slope_ols

    slope = slope_ols(level, spread)
    return float(slope.estimate) if abs(slope.estimate) > 2 * slope.se else 0.0


def fit_quadratic(offset: Array, y: Array, weights: Array) -> Quadratic:
    """Weighted quadratic of y [K] in offset [K]."""
    import statsmodels.api as sm

    fit = sm.WLS(y, np.vander(offset, 3, increasing=True), weights=weights).fit()
    return Quadratic(np.asarray(fit.params), np.asarray(fit.normalized_cov_params), float(fit.ssr), int(fit.df_resid))


def fieller(beta: Array, cov: Array, quantile: float) -> tuple[float, float]:
    """Fieller's (1954) interval for −β₁/(2β₂): all u with (β₁ + 2β₂u)² ≤ quantile² · Var(β₁ + 2β₂u).

    Unbounded (±inf) when β₂ does not differ from 0 at that quantile.
    """
    q2 = quantile**2
    a = 4 * (beta[2] ** 2 - q2 * cov[2, 2])
    b = 4 * (beta[1] * beta[2] - q2 * cov[1, 2])
    c = beta[1] ** 2 - q2 * cov[1, 1]
    if a <= 0:
        return -np.inf, np.inf
    root = np.sqrt(max(b**2 - 4 * a * c, 0.0))
    return float((-b - root) / (2 * a)), float((-b + root) / (2 * a))


def vertex_se(beta: Array, cov: Array) -> float:
    """Delta-method standard error of −β₁/(2β₂)."""
    vertex = -beta[1] / (2 * beta[2])
    variance = (cov[1, 1] + 4 * vertex * cov[1, 2] + 4 * vertex**2 * cov[2, 2]) / (4 * beta[2] ** 2)
    return float(np.sqrt(max(variance, 0.0)))


def is_asymmetric(window: Window, weights: Array) -> bool:
    """Whether a cubic term, beside one offset per seed, improves the quadratic (F test, p < 0.05)."""
    import statsmodels.api as sm

    seeds, points = window.log_loss.shape
    if seeds * points <= seeds + 3:
        return False
    cubic = np.tile(np.vander(window.offset, 4, increasing=True)[:, 1:], (seeds, 1))
    design = np.hstack([np.repeat(np.eye(seeds), points, axis=0), cubic])
    y, row_weights = window.log_loss.ravel(), np.tile(weights, seeds)
    full = sm.WLS(y, design, weights=row_weights).fit()
    # Residuals at the level of rounding say nothing about shape.
    if full.ssr < points * ROUNDING**2 * seeds:
        return False
    return bool(full.compare_f_test(sm.WLS(y, design[:, :-1], weights=row_weights).fit())[1] < ASYMMETRY_P)


def seed_inflation(fits: Sequence[tuple[Window, Array, Quadratic]], scale: float) -> float:
    """How much larger the vertices' variance between seeds is than the residual variance implies; at least 1.

    Members of one seed share their randomness, so whole curves move sideways between seeds; residuals do not show that.
    The seeds' own quadratics do: by the delta method seed s moves the vertex v by −(β₁ₛ + 2vβ₂ₛ)/(2β₂). Both variances
    are averaged over shapes before they are compared.
    """
    between, implied = [], []
    for window, weights, quadratic in fits:
        seeds = len(window.log_loss)
        if seeds < 2:
            continue
        design = np.vander(window.offset, 3, increasing=True)
        betas = window.log_loss * weights @ design @ quadratic.unscaled_cov
        moves = -(betas[:, 1] + 2 * quadratic.vertex() * betas[:, 2]) / (2 * quadratic.beta[2])
        between.append(moves.var(ddof=1) / seeds)
        implied.append(vertex_se(quadratic.beta, quadratic.unscaled_cov * scale) ** 2)
    return max(1.0, float(np.mean(between) / np.mean(implied))) if np.sum(implied) > 0 else 1.0


def find_optima(sweeps: Sequence[Sweep], size: int = 5, min_side: int = 2) -> list[Optimum]:
    """The optimum of every shape of one group.

    Weights follow the pooled, loss-dependent seed variance. The residual variance is pooled over the group's shapes: 5
    points leave each alone 2 degrees of freedom, together they make usable errors; it is raised to what the seeds show
    (`seed_inflation`). An interior optimum has ≥ `min_side` finite rates on each side of the best, curvature > 0 with
    t > 2, and its vertex inside the window; else it is `flat`.
    """
    found = [find_window(sweep, size, min_side) for sweep in sweeps]
    windows = [entry for entry in found if isinstance(entry, Window)]
    gamma = noise_slope(windows)
    fits: dict[int, tuple[Window, Array, Quadratic]] = {}
    for index, entry in enumerate(found):
        if isinstance(entry, Window):
            weights = np.exp(-gamma * (entry.mean - entry.mean.min()))
            fits[index] = (entry, weights, fit_quadratic(entry.offset, entry.mean, weights))
    dof = sum(quadratic.dof for _, _, quadratic in fits.values())
    scale = sum(quadratic.rss for _, _, quadratic in fits.values()) / dof if dof else np.nan
    interior = {index for index, (window, _, quadratic) in fits.items() if has_minimum(window, quadratic, scale)}
    inflated = scale * seed_inflation([fits[index] for index in sorted(interior)], scale)
    optima = []
    for index, entry in enumerate(found):
        if isinstance(entry, Optimum):
            optima.append(entry)
            continue
        window, weights, quadratic = fits[index]
        flat = Optimum(
            sweeps[index].x,
            "flat",
            grid_best=window.grid_best,
            n_points=len(window.offset),
            n_runs=window.log_loss.size,
            window=window,
            weights=weights,
        )
        optima.append(_locate(flat, window, weights, quadratic, inflated, dof) if index in interior else flat)
    return optima


def grid_optimum(sweep: Sweep, size: int, min_side: int) -> Optimum:
    """The best rate of the grid, without an error: what most papers report."""
    window = find_window(sweep, size, min_side)
    if isinstance(window, Optimum):
        return window
    best = int(np.flatnonzero(window.offset == 0)[0])
    return _coarse(sweep, window, window.grid_best, float(window.mean[best]))


def parabola_optimum(sweep: Sweep, size: int, min_side: int) -> Optimum:
    """The vertex of the parabola through the best rate and its two neighbours, without an error."""
    window = find_window(sweep, size, min_side)
    if isinstance(window, Optimum):
        return window
    best = int(np.flatnonzero(window.offset == 0)[0])
    near = slice(best - 1, best + 2)
    quadratic = fit_quadratic(window.offset[near], window.mean[near], np.ones(3))
    if not quadratic.beta[2] > ROUNDING:
        return Optimum(sweep.x, "flat", grid_best=window.grid_best, n_points=3, n_runs=3 * len(window.log_loss))
    vertex = quadratic.vertex()
    return _coarse(sweep, window, window.grid_best + vertex, quadratic.at(vertex))


def _coarse(sweep: Sweep, window: Window, log2_lr: float, log_loss: float) -> Optimum:
    return Optimum(
        sweep.x,
        "interior",
        log2_lr=log2_lr,
        loss=float(np.exp(log_loss)),
        grid_best=window.grid_best,
        n_points=len(window.offset),
        n_runs=window.log_loss.size,
    )


def has_minimum(window: Window, quadratic: Quadratic, scale: float) -> bool:
    """Whether the curvature is positive with t > 2 and the vertex lies inside the window."""
    curvature = quadratic.beta[2]
    if not curvature > max(CURVATURE_T * np.sqrt(quadratic.unscaled_cov[2, 2] * scale), ROUNDING):
        return False
    return bool(window.offset[0] <= quadratic.vertex() <= window.offset[-1])


def _locate(flat: Optimum, window: Window, weights: Array, quadratic: Quadratic, scale: float, dof: int) -> Optimum:
    """The interior optimum, with its intervals, of a shape that has a minimum."""
    from scipy import stats

    beta, cov, best = quadratic.beta, quadratic.unscaled_cov * scale, window.grid_best
    vertex = quadratic.vertex()
    ci_low, ci_high = fieller(beta, cov, float(stats.t.ppf(0.975, dof)))
    half = float(np.sqrt(BASIN / beta[2]))
    low, high = window.offset[[0, -1]]
    return replace(
        flat,
        status="interior",
        log2_lr=best + vertex,
        se=vertex_se(beta, cov),
        ci_low=best + ci_low,
        ci_high=best + ci_high,
        loss=float(np.exp(quadratic.at(vertex))),
        # The parabola is not trusted beyond the points that made it.
        basin_low=best + max(vertex - half, low),
        basin_high=best + min(vertex + half, high),
        asymmetric=is_asymmetric(window, weights),
    )
