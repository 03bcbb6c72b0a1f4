"""The optimal learning rate of each shape: vertex of a weighted quadratic in log2(lr), with Fieller's interval.

The response is the logarithm of the loss: the basin (+0.25 %) is then a constant offset, seed noise is relative, and
the steep unstable side pulls less on a parabola than in the loss itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muster.statistics.fieller import fieller, vertex_se
from muster.statistics.pairing import column_means, complete_rows, paired_rows

Array = NDArray[np.float64]

CURVATURE_T = 2.0
BASIN = np.log(1.0025)
ASYMMETRY_P = 0.05
ROUNDING = 1e-12  # ln loss differences below this are float noise
EVEN = 1.5  # ratio of the widest to the narrowest step up to which rates are a grid
OCTAVES = 4.0  # width of a window where they are none
SMOOTHING = 0.5  # half width, in octaves, of the mean that finds the best of many rates
MANY = 25
CUBIC = 7  # points from which a cubic has residuals enough


@dataclass(frozen=True)
class Sweep:
    """ln loss of one shape: `log_loss` [S seeds, G rates], NaN where diverged, over increasing `log2_lr` [G].

    absent [S, G]: runs that were not made, which say nothing about a rate; NaN in `log_loss` as well.
    """

    x: float
    log2_lr: Array
    log_loss: Array
    absent: NDArray[np.bool_] | None = None

    def usable(self) -> NDArray[np.intp]:
        """The rates with a run at which none diverged."""
        made = np.ones_like(self.log_loss, bool) if self.absent is None else ~self.absent
        lost = (made & ~np.isfinite(self.log_loss)).any(axis=0)
        return np.flatnonzero(made.any(axis=0) & ~lost)


class Window(NamedTuple):
    """The points around the best rate: `offset` [K] from it in octaves, `log_loss` [S, K], NaN where not run."""

    grid_best: float
    offset: Array
    log_loss: Array

    @property
    def mean(self) -> Array:
        return column_means(self.log_loss)

    @property
    def complete(self) -> Array:
        """The seeds that were run at all of the points, by which noise is known."""
        return complete_rows(self.log_loss)

    @property
    def runs(self) -> Array:
        """How many runs stand behind each point [K]."""
        return np.isfinite(self.log_loss).sum(axis=0).astype(float)


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

    def responses(self, offset: Array, weights: Array) -> Array:
        """What each coefficient gains [degree + 1, K] as one of the fitted values rises by 1."""
        design = np.vander(offset, len(self.beta), increasing=True)
        return np.asarray(self.unscaled_cov @ design.T * weights)


@dataclass(frozen=True)
class Optimum:
    """The optimum of one shape in log2(lr). `status`: interior, edge, diverged or flat; numbers are NaN unless
    interior, but for `edge` the interval holds the neighbours that bracket the best rate (±inf at the end of the
    grid).

    lean, lean_se: how far the minimum of a cubic over at least `CUBIC` rates lies from the vertex, and the error of
    that distance; NaN without so many.
    """

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
    lean: float = np.nan
    lean_se: float = np.nan
    window: Window | None = None
    weights: Array | None = None

    def refit(self, seeds: NDArray[np.intp] | None = None) -> Quadratic:
        """The quadratic of some rows of the window's losses, all if None, on the same points with the same weights, in
        octaves from `grid_best`. Rows are seeds, or repetitions where seeds pair nothing. Raises a ValueError when the
        shape had no window."""
        if self.window is None or self.weights is None:
            raise ValueError(f"no quadratic was fitted at {self.x:g}: {self.status}")
        rows = self.window.log_loss if seeds is None else self.window.log_loss[seeds]
        return fit_quadratic(self.window.offset, column_means(rows), self.weights)


def is_even(log2_lr: Array) -> bool:
    """Whether rates lie on a grid, as far as rounding to 1, 2, 5, 10 or 1, 3, 10 goes."""
    gaps = np.diff(log2_lr)
    return bool(len(gaps) < 2 or gaps.max() <= EVEN * gaps.min())


def smoothed(log2_lr: Array, means: Array, runs: Array) -> Array:
    """Mean of `means` [… G] over the rates within half an octave: where runs are many the lowest single one is luck."""
    near = (np.abs(log2_lr[:, None] - log2_lr) <= SMOOTHING) * runs
    return np.asarray(means @ near.T / near.sum(axis=1))


def members(log2_lr: Array, best: int, size: int, octaves: float, *, even: bool) -> NDArray[np.bool_]:
    """Which of the usable rates [G] lie in the window around one of them: the `size` nearest by number and, where rates
    are no grid, all within half of `octaves`."""
    start = int(np.clip(best - size // 2, 0, max(len(log2_lr) - size, 0)))
    chosen = np.zeros(len(log2_lr), bool)
    chosen[start : start + size] = True
    return chosen if even else chosen | (np.abs(log2_lr - log2_lr[best]) <= octaves / 2)


def find_window(sweep: Sweep, size: int, min_side: int, octaves: float = OCTAVES) -> Window | Optimum:
    """The rates around the lowest mean loss, or the Optimum that says why there are none.

    On a grid these are `size` rates. Rates that are scattered, or of several spacings, would then span the less the
    more there are of them: the window is `octaves` wide and holds at least `size` rates; from `MANY` rates on, the best
    is where the mean over an octave is lowest.

    A rate at which any seed diverged is left out: the mean of the survivors would be a biased number.
    """
    usable = sweep.usable()
    if not len(usable):
        return Optimum(sweep.x, "diverged")
    log_loss, rates = paired_rows(sweep.log_loss[:, usable]), sweep.log2_lr[usable]
    means, runs = column_means(log_loss), np.isfinite(log_loss).sum(axis=0)
    even = is_even(sweep.log2_lr)
    best = int((means if even or len(usable) < MANY else smoothed(rates, means, runs)).argmin())
    if min(best, len(usable) - 1 - best) < min_side or len(usable) < 4:
        above = usable[best] + 1
        return Optimum(
            sweep.x,
            "edge",
            ci_low=float(rates[best - 1]) if best else -np.inf,
            ci_high=float(sweep.log2_lr[above]) if above < len(sweep.log2_lr) else np.inf,
            grid_best=float(rates[best]),
            n_points=len(usable),
            n_runs=int(runs.sum()),
        )
    chosen = members(rates, best, size, octaves, even=even)
    return Window(float(rates[best]), rates[chosen] - rates[best], log_loss[:, chosen])


def noise_slope(windows: Sequence[Window]) -> float:
    """d ln(seed variance) / d ln(loss), pooled over the windows; 0 unless it is significant (t > 2).

    The seeds' common offsets are taken out first: members share initial weights and batches, and an offset moves no
    vertex. That mixes a little of each point's noise into the others' and draws the slope towards 0, to equal weights.
    """
    excess, log_variance = [], []
    for window in windows:
        y = window.complete
        seeds, points = y.shape
        if seeds < 2:
            continue
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
    return _polynomial(offset, y, weights, 2)


def fit_polynomial(window: Window, weights: Array, degree: int) -> Quadratic:
    """A polynomial of another degree through a window, with the fields of a `Quadratic`."""
    return _polynomial(window.offset, window.mean, weights, degree)


def _polynomial(offset: Array, y: Array, weights: Array, degree: int) -> Quadratic:
    root = np.sqrt(weights)
    design = np.vander(offset, degree + 1, increasing=True) * root[:, None]
    inverse = np.linalg.pinv(design, rcond=1e-15)
    beta = inverse @ (y * root)
    rss = float(np.square(y * root - design @ beta).sum())
    return Quadratic(beta, inverse @ inverse.T, rss, len(y) - degree - 1)


def cubic_vertex(cubic: Quadratic, scale: float) -> tuple[float, float]:
    """The minimum of β₀ + β₁u + β₂u² + β₃u³ and its delta-method error; NaN where it has none."""
    _, b1, b2, b3 = cubic.beta
    discriminant = b2**2 - 3 * b1 * b3
    if discriminant <= 0 or b2 <= 0:
        return np.nan, np.nan
    # Of the two roots of β₁ + 2β₂u + 3β₃u² the minimum, in a form that survives β₃ = 0.
    u = -b1 / (b2 + np.sqrt(discriminant))
    gradient = np.array([0.0, 1.0, 2 * u, 3 * u**2]) / (2 * b2 + 6 * b3 * u)
    return float(u), float(np.sqrt(gradient @ cubic.unscaled_cov @ gradient * scale))


def other_vertex(window: Window, weights: Array, scale: float, vertex: float) -> tuple[float, float]:
    """Where a leaning valley has its minimum, and its error, beside the quadratic's `vertex`; NaN where there is none.

    Of five rates, from the parabola through the lowest three: a cubic term moves the vertex of five even points 3.4
    times as far as that of three, so that the rest of the way follows. Of more, from a cubic.
    """
    if len(window.offset) >= CUBIC:
        return cubic_vertex(fit_polynomial(window, weights, 3), scale)
    near = nearest_three(window)
    three = fit_quadratic(window.offset[near], window.mean[near], weights[near])
    if not three.beta[2] > ROUNDING:
        return np.nan, np.nan
    return three.vertex() + (three.vertex() - vertex) / 2.4, vertex_se(three.beta, three.unscaled_cov * scale)


def measure_leans(
    wide: Mapping[int, tuple[Window, Array]], fits: Mapping[int, tuple[Window, Array, Quadratic]]
) -> dict[int, tuple[float, float]]:
    """How far the minimum of the cubic through a wide window lies from the quadratic's vertex, and the delta method's
    error of that, by shape.

    Both are functions of the same mean losses, whose residual variance is that around the cubics of all shapes. Shapes
    whose cubic has no minimum inside its window are left out.
    """
    cubics = {index: fit_polynomial(*each, 3) for index, each in wide.items()}
    dof = sum(cubic.dof for cubic in cubics.values())
    scale = sum(cubic.rss for cubic in cubics.values()) / dof if dof else np.nan
    found = {}
    for index, cubic in cubics.items():
        (around, around_weights), (window, weights, quadratic) = wide[index], fits[index]
        u, v = cubic_vertex(cubic, scale)[0], quadratic.vertex()
        if not around.offset[0] <= u <= around.offset[-1]:
            continue
        _, _, b2, b3 = cubic.beta
        terms = cubic.responses(around.offset, around_weights)
        moves = -(terms[1] + 2 * u * terms[2] + 3 * u**2 * terms[3]) / (2 * b2 + 6 * b3 * u)
        terms = quadratic.responses(window.offset, weights)
        moves[np.isin(around.offset, window.offset)] += (terms[1] + 2 * v * terms[2]) / (2 * quadratic.beta[2])
        found[index] = u - v, float(np.sqrt(scale * (moves**2 / around_weights).sum()))
    return found


def is_asymmetric(window: Window, weights: Array) -> bool:
    """Whether a cubic term, beside one offset per seed, improves the quadratic (F test, p < 0.05)."""
    return bool(cubic_p(window, weights) < ASYMMETRY_P)


def cubic_p(window: Window, weights: Array) -> float:
    """p of the F test of a cubic term beside one offset per seed; 1 where it cannot be told.

    The offsets are taken out as weighted means within seeds (Frisch & Waugh 1933; Lovell 1963): of a thousand seeds
    they would be a thousand columns.
    """
    from scipy import stats

    known = np.isfinite(window.log_loss)
    if known.sum() <= len(known) + 3:
        return 1.0
    share = known * weights
    share = share[known.any(axis=1)]
    known, log_loss = known[known.any(axis=1)], window.log_loss[known.any(axis=1)]

    def within(values: Array) -> Array:
        centred = values - (share * values).sum(axis=1, keepdims=True) / share.sum(axis=1, keepdims=True)
        return np.asarray((np.sqrt(share) * centred)[known])

    y = within(np.where(known, log_loss, 0.0))
    powers = np.stack([within(np.broadcast_to(window.offset**power, known.shape)) for power in (1, 2, 3)], axis=1)
    rest, full = (_residual_square(powers[:, :columns], y) for columns in (2, 3))
    # Residuals at the level of rounding say nothing about shape.
    if full < known.sum() * ROUNDING**2:
        return 1.0
    dof = int(known.sum()) - len(known) - 3
    return float(stats.f.sf((rest - full) / (full / dof), 1, dof))


def _residual_square(design: Array, y: Array) -> float:
    return float(np.square(y - design @ np.linalg.lstsq(design, y, rcond=None)[0]).sum())


def seed_inflation(fits: Sequence[tuple[Window, Array, Quadratic]], scale: float) -> float:
    """How much larger the vertices' variance between seeds is than the residual variance implies; at least 1.

    Members of one seed share their randomness, so whole curves move sideways between seeds; residuals do not show that.
    The seeds' own quadratics do: by the delta method seed s moves the vertex v by −(β₁ₛ + 2vβ₂ₛ)/(2β₂). Both variances
    are averaged over shapes before they are compared.
    """
    between, implied = [], []
    for window, weights, quadratic in fits:
        complete = window.complete
        seeds = len(complete)
        if seeds < 2:
            continue
        design = np.vander(window.offset, 3, increasing=True)
        betas = complete * weights @ design @ quadratic.unscaled_cov
        moves = -(betas[:, 1] + 2 * quadratic.vertex() * betas[:, 2]) / (2 * quadratic.beta[2])
        between.append(moves.var(ddof=1) / seeds)
        implied.append(vertex_se(quadratic.beta, quadratic.unscaled_cov * scale) ** 2)
    return max(1.0, float(np.mean(between) / np.mean(implied))) if np.sum(implied) > 0 else 1.0


def seed_noise(windows: Sequence[Window]) -> float:
    """Variance of a window's mean that seeds alone make, pooled over windows with several; NaN without any. The seeds'
    common offsets are taken out, as they move no vertex."""
    square, dof = 0.0, 0
    for window in windows:
        y = window.complete
        seeds, points = y.shape
        if seeds > 1:
            residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
            square += float(np.square(residual).sum()) / seeds
            dof += (seeds - 1) * (points - 1)
    return square / dof if dof else np.nan


def leans(fits: Sequence[tuple[Window, Array, Quadratic]]) -> bool:
    """Whether the valleys of a group lean to one side: their cubic terms differ from 0 on average (t test, shapes as
    replicates), or improve the quadratics together (F test), p < 0.05 each.

    A single shape shows this only with little noise; a lean that all share biases all vertices alike.
    """
    from scipy import stats

    terms, without, left, dof = [], 0.0, 0.0, 0
    for window, weights, quadratic in fits:
        if len(window.offset) > 4:
            terms.append(fit_polynomial(window, weights, 3))
            without, left, dof = without + quadratic.rss, left + terms[-1].rss, dof + terms[-1].dof
    cubic = [float(term.beta[3]) for term in terms]
    if len(cubic) < 3 or np.ptp(cubic) < ROUNDING or without < dof * ROUNDING**2:
        return False
    together = stats.f.sf((without - left) / len(cubic) / (left / dof), len(cubic), dof) if left > 0 else 0.0
    return bool(min(together, stats.ttest_1samp(cubic, 0.0).pvalue) < ASYMMETRY_P)


def contradicts(window: Window, quadratic: Quadratic, noise: float) -> bool:
    """Whether the runs contradict a parabola: its minimum lies deeper below the lowest of them than the distance to
    the next rate explains. Left of a cliff it does: the wall lifts one arm and pushes the vertex away from it.

    Of scattered rates the lowest may have a near twin, and the minimum lie in a gap further away: what that gap hides
    contradicts nothing.
    """
    mean, vertex, gaps = window.mean, quadratic.vertex(), np.diff(window.offset)
    best = int(mean.argmin())
    hiding = int(np.clip(np.searchsorted(window.offset, vertex) - 1, 0, len(gaps) - 1))
    step = max(*gaps[max(best - 1, 0) : best + 1], gaps[hiding])
    depth = mean[best] - quadratic.at(vertex)
    return bool(depth > quadratic.beta[2] * (step / 2) ** 2 + CURVATURE_T * np.sqrt(noise))


def find_parabolas(
    sweeps: Sequence[Sweep], size: int = 5, min_side: int = 2, octaves: float = OCTAVES
) -> list[Optimum]:
    """The optimum of every shape of one group by a parabola.

    Weights follow the pooled, loss-dependent seed variance. The residual variance is pooled over the group's shapes: 5
    points leave each alone 2 degrees of freedom, together they make usable errors; it is raised to what the seeds show
    (`seed_inflation`). An interior optimum has ≥ `min_side` finite rates on each side of the best, curvature > 0 with
    t > 2, and its vertex inside the window; else it is `flat`.

    A parabola that the runs contradict, or that shows no minimum although both neighbours of the best rate are higher
    than noise makes them, is replaced by the best rate and those two (`_bracketed`). Where the valley only leans, the
    interval takes in the vertex through these three.
    """
    found = [find_window(sweep, size, min_side, octaves) for sweep in sweeps]
    windows = [entry for entry in found if isinstance(entry, Window)]
    gamma, noise = noise_slope(windows), seed_noise(windows)
    fits: dict[int, tuple[Window, Array, Quadratic]] = {}
    for index, entry in enumerate(found):
        if isinstance(entry, Window):
            weights = weigh(entry, gamma)
            fits[index] = (entry, weights, fit_quadratic(entry.offset, entry.mean, weights))
    dof = sum(quadratic.dof for _, _, quadratic in fits.values())
    scale = sum(quadratic.rss for _, _, quadratic in fits.values()) / dof if dof else np.nan
    interior = {index for index, (window, _, quadratic) in fits.items() if has_minimum(window, quadratic, scale)}
    inflated = scale * seed_inflation([fits[index] for index in sorted(interior)], scale)
    leaning = leans(list(fits.values()))
    wide = {index: find_window(sweeps[index], max(size, CUBIC), min_side, octaves) for index in sorted(interior)}
    leaned = measure_leans(
        {
            index: (each, weigh(each, gamma))
            for index, each in wide.items()
            if isinstance(each, Window) and len(each.offset) >= CUBIC
        },
        fits,
    )
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
            n_runs=int(window.runs.sum()),
            window=window,
            weights=weights,
        )
        if index in interior and not contradicts(window, quadratic, scale if np.isnan(noise) else noise):
            lean, lean_se = leaned.get(index, (np.nan, np.nan))
            vertex = _locate(flat, window, weights, quadratic, inflated, dof, leaning)
            optima.append(replace(vertex, lean=lean, lean_se=lean_se))
        else:
            optima.append(_bracketed(flat, window, noise))
    return optima


def weigh(window: Window, gamma: float) -> Array:
    """Weights of a window's points, up to a factor: by the number of runs, and as their variance follows the loss."""
    return np.asarray(np.exp(-gamma * (window.mean - window.mean.min())) * (window.runs / window.runs.max()))


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
        return Optimum(sweep.x, "flat", grid_best=window.grid_best, n_points=3, n_runs=int(window.runs[near].sum()))
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
        n_runs=int(window.runs.sum()),
    )


def has_minimum(window: Window, quadratic: Quadratic, scale: float) -> bool:
    """Whether the curvature is positive with t > 2 and the vertex lies inside the window."""
    curvature = quadratic.beta[2]
    if not curvature > max(CURVATURE_T * np.sqrt(quadratic.unscaled_cov[2, 2] * scale), ROUNDING):
        return False
    return bool(window.offset[0] <= quadratic.vertex() <= window.offset[-1])


def nearest_three(window: Window) -> slice:
    """The lowest point of a window and its neighbours."""
    best = int(np.clip(window.mean.argmin(), 1, len(window.offset) - 2))
    return slice(best - 1, best + 2)


def _bracketed(flat: Optimum, window: Window, noise: float) -> Optimum:
    """The optimum known by the neighbours of the best rate alone, both of which must be higher by more than seeds make
    them (t > 2): between them a valley has its bottom, however it leans. Else the shape stays flat.

    The vertex of the parabola through the three is the estimate; its error is that of a uniform variable.
    """
    near = nearest_three(window)
    offset, mean = window.offset[near], window.mean[near]
    wall = min(mean[0], mean[2]) - mean[1]
    if not wall > CURVATURE_T * np.sqrt(2 * noise):
        return flat
    parabola = fit_quadratic(offset, mean, np.ones(3))
    vertex = parabola.vertex()
    low, high = flat.grid_best + offset[0], flat.grid_best + offset[2]
    half = float(np.sqrt(BASIN / parabola.beta[2]))
    return replace(
        flat,
        status="interior",
        log2_lr=flat.grid_best + vertex,
        se=(high - low) / np.sqrt(12),
        ci_low=low,
        ci_high=high,
        loss=float(np.exp(parabola.at(vertex))),
        basin_low=max(flat.grid_best + vertex - half, low),
        basin_high=min(flat.grid_best + vertex + half, high),
        asymmetric=True,
    )


def _locate(
    flat: Optimum, window: Window, weights: Array, quadratic: Quadratic, scale: float, dof: int, leaning: bool
) -> Optimum:
    """The interior optimum, with its intervals, of a shape that has a minimum."""
    from scipy import stats

    beta, cov, best = quadratic.beta, quadratic.unscaled_cov * scale, window.grid_best
    quantile = float(stats.t.ppf(0.975, dof))
    vertex, se = quadratic.vertex(), vertex_se(beta, cov)
    ends = fieller(beta, cov, quantile)
    asymmetric = leaning or is_asymmetric(window, weights)
    # Scattered rates show a lean too late to wait for it: between none and a significant one the intervals were short.
    if asymmetric or (len(window.offset) >= CUBIC and not is_even(window.offset)):
        other, spread = other_vertex(window, weights, scale, vertex)
        if np.isfinite(other):
            # What the choice of the parabola moves is in the interval.
            ends = min(ends[0], other - quantile * spread), max(ends[1], other + quantile * spread)
            se = max(se, (ends[1] - ends[0]) / (2 * quantile)) if np.isfinite(ends).all() else se
    half = float(np.sqrt(BASIN / beta[2]))
    low, high = window.offset[[0, -1]]
    return replace(
        flat,
        status="interior",
        log2_lr=best + vertex,
        se=se,
        ci_low=best + ends[0],
        ci_high=best + ends[1],
        loss=float(np.exp(quadratic.at(vertex))),
        # The parabola is not trusted beyond the points that made it.
        basin_low=best + max(vertex - half, low),
        basin_high=best + min(vertex + half, high),
        asymmetric=asymmetric,
    )
