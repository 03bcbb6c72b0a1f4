"""Power of a learning-rate sweep before it runs: simulated losses on the study's grid, optima, slopes, tests.

The simulation follows the estimator's rules (window, edges, curvature test, least squares with t) on whole arrays of
draws; weights are equal, because its noise is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.claims.families import HEADLINE, family_text
from muster.claims.tests import ALPHA, CLAIM_TESTS, p_refute
from muster.config.models import FitConfig, StudyConfig
from muster.fitting.estimators.lr_transfer import LN2, MEMBER, WindowOptions, shape_optima
from muster.fitting.frames import levels
from muster.fitting.optimum.quadratic import CURVATURE_T, MANY, ROUNDING, is_even, members, smoothed
from muster.statistics.linear import meta_regression

Array = NDArray[np.float64]

POWER = 0.8
STEEPEST = 2.0
DRAWS = 2000


class Assumptions(NamedTuple):
    """What a sweep is taken to look like: ln loss = curvature · (log2 lr − optimum)² + noise.

    noise: standard deviation of one run's ln loss around its seed's smooth curve; what all rates of a seed share does
    not count. tau: standard deviation of ln lr* between shapes, beyond the line. curvature: per octave².
    """

    noise: float = 0.005
    tau: float = 0.05
    curvature: float = 0.02


class Shape(NamedTuple):
    """One value of the axis: ln x, its rates in octaves [G], and how many seeds run each."""

    log_x: float
    rates: Array
    seeds: int


class Slopes(NamedTuple):
    """Least-squares slopes, standard errors and degrees of freedom of all draws [D], NaN below three interior optima;
    `interior` counts those."""

    slope: Array
    se: Array
    dof: Array
    interior: Array

    def half_width(self, level: float) -> Array:
        """t quantile times standard error; NaN where there is none."""
        from scipy import stats

        known = np.isfinite(self.se)
        return np.where(known, stats.t.ppf(level, np.where(known, self.dof, 1)) * self.se, np.nan)


def shapes_of(rows: pd.DataFrame, along: str) -> list[Shape]:
    """The shapes of a planned or finished group: rows have `along`, `seed` and `log2_lr`."""
    return [
        Shape(float(np.log(x)), np.sort(level[MEMBER].unique().astype(float)), level["seed"].nunique())
        for x, level in levels(rows, along)
    ]


def estimate_assumptions(rows: pd.DataFrame, fit: FitConfig, options: WindowOptions) -> Assumptions | None:
    """What a finished sweep says: noise and curvature from its windows, tau by REML; None below three interior optima.

    Noise is what is left of ln loss [S, K] after rate and seed means, with (S − 1)(K − 1) degrees of freedom; for a
    single seed, what is left by the quadratic.
    """
    found = [optimum for optimum in shape_optima(rows, fit, options) if optimum.status == "interior"]
    if len(found) < 3:
        return None
    squares, dof, curvatures = 0.0, 0, []
    for optimum in found:
        if optimum.window is None:
            continue
        y, quadratic = optimum.window.log_loss, optimum.refit(np.arange(len(optimum.window.log_loss)))
        seeds, points = y.shape
        residual = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
        squares += quadratic.rss if seeds == 1 else float(np.square(residual).sum())
        dof += quadratic.dof if seeds == 1 else (seeds - 1) * (points - 1)
        curvatures.append(quadratic.beta[2])
    log_x = np.log([optimum.x for optimum in found])
    y = np.array([optimum.log2_lr for optimum in found]) * LN2
    variance = np.square([optimum.se * LN2 for optimum in found])
    tau2 = meta_regression(y, variance, np.column_stack([np.ones(len(y)), log_x])).tau2
    return Assumptions(float(np.sqrt(squares / dof)), float(np.sqrt(tau2)), float(np.median(curvatures)))


def grid_slope(shapes: Sequence[Shape]) -> float:
    """Slope of the middle of the grid in ln lr against ln x: where whoever placed the rates expects the optimum."""
    middle = np.array([LN2 * (shape.rates[0] + shape.rates[-1]) / 2 for shape in shapes])
    log_x = np.array([shape.log_x for shape in shapes])
    x = log_x - log_x.mean()
    return float(x @ (middle - middle[0]) / (x @ x))


def simulate_optima(
    shapes: Sequence[Shape], slope: float, assumed: Assumptions, options: WindowOptions, draws: int, seed: int
) -> Array:
    """ln lr* as the estimator would find it, [D, W], NaN unless interior.

    The true optima lie on a line of the given slope through the middle of the grid, moved by up to half a step per draw
    because no grid knows its phase, and scattered by tau. The same seed gives the same noise at every slope.
    """
    rng = np.random.default_rng(seed)
    log_x = np.array([shape.log_x for shape in shapes])
    middle = np.array([(shape.rates[0] + shape.rates[-1]) / 2 for shape in shapes])
    line = middle.mean() + slope * (log_x - log_x.mean()) / LN2
    step = max(float(np.diff(shape.rates).min()) for shape in shapes)
    phase = rng.uniform(-0.5, 0.5, (draws, 1)) * step
    truth = line + phase + assumed.tau / LN2 * rng.standard_normal((draws, len(shapes)))
    mean_losses = [
        assumed.curvature * np.square(shape.rates - truth[:, [index]])
        + assumed.noise / np.sqrt(shape.seeds) * rng.standard_normal((draws, len(shape.rates)))
        for index, shape in enumerate(shapes)
    ]
    return locate_all([shape.rates for shape in shapes], mean_losses, options) * LN2


def locate_all(rates: Sequence[Array], mean_losses: Sequence[Array], options: WindowOptions) -> Array:
    """log2 lr* [D, W] by the rules of `find_optima` with equal weights: rates [G] and mean ln loss [D, G] of each
    shape. NaN unless interior."""
    fits = [_fit_windows(grid, losses, options) for grid, losses in zip(rates, mean_losses, strict=True)]
    dof = sum(np.where(fit.inside, fit.dof, 0) for fit in fits)
    scale = sum(np.where(fit.inside, fit.rss, 0.0) for fit in fits) / np.maximum(dof, 1)
    found = []
    for fit in fits:
        curved = fit.curvature > np.maximum(CURVATURE_T * np.sqrt(fit.curvature_var * scale), ROUNDING)
        found.append(np.where(fit.inside & curved & fit.within, fit.vertex, np.nan))
    return np.column_stack(found)


class _Windows(NamedTuple):
    """Quadratics of one shape in all draws, each [D]: `inside` where the best rate has enough neighbours, `within`
    where the vertex lies between the first and the last rate of its window."""

    inside: NDArray[np.bool_]
    within: NDArray[np.bool_]
    vertex: Array
    curvature: Array
    curvature_var: Array
    rss: Array
    dof: Array


def _fit_windows(rates: Array, losses: Array, options: WindowOptions) -> _Windows:
    draws, count = losses.shape
    even = is_even(rates)
    best = (losses if even or count < MANY else smoothed(rates, losses, np.ones(count))).argmin(axis=1)
    inside = (np.minimum(best, count - 1 - best) >= options.min_side) & (count >= 4)
    found = _Windows(inside, np.zeros(draws, bool), *np.full((5, draws), np.nan))
    # There are few distinct windows: each is solved once for all draws.
    for place in np.unique(best[inside]):
        here = best == place
        chosen = members(rates, int(place), options.window, options.octaves, even=even)
        offset = rates[chosen] - rates[place]
        design = np.vander(offset, 3, increasing=True)
        bread = np.linalg.inv(design.T @ design)
        y = losses[np.ix_(here, chosen)]
        beta = y @ design @ bread
        vertex = -beta[:, 1] / (2 * np.where(beta[:, 2] == 0, np.nan, beta[:, 2]))
        found.within[here] = (offset[0] <= vertex) & (vertex <= offset[-1])
        found.vertex[here], found.curvature[here] = rates[place] + vertex, beta[:, 2]
        found.curvature_var[here], found.dof[here] = bread[2, 2], len(offset) - 3
        found.rss[here] = np.square(y - beta @ design.T).sum(axis=1)
    return found


def fit_slopes(log_x: Array, y: Array) -> Slopes:
    """Least squares of y [D, W] on ln x [W] over the points that are not NaN, with W_d − 2 degrees of freedom."""
    known = np.isfinite(y)
    n = known.sum(axis=1)
    enough = n >= 3
    weight = known / np.maximum(n, 1)[:, None]
    x = np.where(known, log_x - (weight @ log_x)[:, None], 0.0)
    y = np.where(known, y - np.where(known, y * weight, 0.0).sum(axis=1, keepdims=True), 0.0)
    sxx = np.where(enough, np.square(x).sum(axis=1), np.nan)
    slope = (x * y).sum(axis=1) / sxx
    dof = np.where(enough, n - 2, np.nan)
    return Slopes(slope, np.sqrt(np.square(y - slope[:, None] * x).sum(axis=1) / dof / sxx), dof, n)


class Design(NamedTuple):
    """One group of a fit as it will run. `b`: the second group of `lr_transfer_difference`, else None; `assumed_b` is
    what its sweeps look like, `assumed` if None."""

    a: list[Shape]
    b: list[Shape] | None
    options: WindowOptions
    assumed: Assumptions
    draws: int = DRAWS
    seed: int = 0
    assumed_b: Assumptions | None = None

    def simulate(self, slope: float) -> Slopes:
        """The estimates at a true slope; in a comparison b follows its own grid and a differs from it by the slope."""
        log_x = [shape.log_x for shape in self.a]
        if self.b is None:
            y = simulate_optima(self.a, slope, self.assumed, self.options, self.draws, self.seed)
            return fit_slopes(np.array(log_x), y)
        shared = sorted({*log_x} & {shape.log_x for shape in self.b})
        a, b = ([shape for shape in side if shape.log_x in shared] for side in (self.a, self.b))
        base = grid_slope(b)
        ya = simulate_optima(a, base + slope, self.assumed, self.options, self.draws, self.seed)
        yb = simulate_optima(b, base, self.assumed_b or self.assumed, self.options, self.draws, self.seed + 1)
        return fit_slopes(np.array(shared), ya - yb)

    @property
    def expected(self) -> float:
        """The slope that the grid was placed for."""
        return grid_slope(self.a) - (0.0 if self.b is None else grid_slope(self.b))


def detection(design: Design, change: float) -> float:
    """Share of draws whose 95 % interval excludes the expected slope when the true one differs from it by `change`."""
    found = design.simulate(design.expected + change)
    return float(np.mean(np.abs(found.slope - design.expected) > found.half_width(1 - ALPHA / 2)))


def smallest_change(design: Design) -> float:
    """The smallest departure from the expected slope, of either sign, that is seen in 80 % of the draws; NaN when none
    up to 2 is. With a grid that does not move along the axis this is the smallest slope that is told from 0.

    Large departures run off the grid and lose shapes: the search goes up from small ones and stops at the first.
    """

    def power(size: float) -> float:
        return min(detection(design, size), detection(design, -size))

    low = high = 0.0
    for size in np.geomspace(0.01, STEEPEST, 12):
        low, high = high, float(size)
        if power(high) >= POWER:
            break
    else:
        return np.nan
    for _ in range(4):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def family_level(family: Sequence[StudyConfig]) -> float:
    """The level at which a headline claim is sure to be decided in its paper's family: 5 % divided by its headlines.

    Holm's first step; later ones are milder, but only behind claims that were decided.
    """
    claims = [(study.slug, claim) for study in family for claim in study.claims]
    parts = [family_text(slug, claim.stance, claim.headline) for slug, claim in claims]
    return ALPHA / max(1, sum(part.endswith(f": {HEADLINE}") for part in parts))


def equivalence_power(margin: float, se: float, dof: float, level: float) -> float:
    """Power of two one-sided t tests of a region of half-width `margin` around the truth.

    The estimate is normal around the truth with error `se`, its estimated error se·√(χ²/dof) independent of it:
    E over that of max(0, 2Φ((margin − t ŝ)/se) − 1). Source: Phillips (1990), J. Pharmacokinet. Biopharm. 18, 137.
    """
    from scipy import integrate, stats

    critical = stats.t.ppf(1 - level, dof)
    most = margin / critical / se  # ŝ/se above which nothing is supported

    def part(ratio: float) -> float:
        density = 2 * ratio * dof * stats.chi2.pdf(dof * ratio**2, dof)
        return float(density * (2 * stats.norm.cdf(margin / se - critical * ratio) - 1))

    return float(integrate.quad(part, 0, most, limit=200, points=[min(1.0, most)])[0])


def claim_power(design: Design, test: str, predicted: float, margin: float, level: float = ALPHA) -> dict[str, Any]:
    """Power of a claim's test, at a level, where the truth is the prediction, and what 80 % would take: see
    `power_of_draws`."""
    return power_of_draws(design.simulate(predicted), test, predicted, margin, level)


def power_of_draws(found: Slopes, test: str, predicted: float, margin: float, level: float) -> dict[str, Any]:
    """Share of simulated estimates by which a claim's test is supported, at a level, and what 80 % would take.

    A two-sided claim (equivalence) is supported when both one-sided t tests put the value inside the region; 80 % takes
    a margin no smaller than |estimate − predicted| + t·se in 80 % of the draws. At the threshold of a one-sided claim
    the power is the level by design: it takes a true value that lies beyond by estimate error + t·se in 80 %.
    """
    low, high = CLAIM_TESTS[test](predicted, margin)
    half, error = found.half_width(1 - level), found.slope - predicted
    supported = float(np.mean((found.slope - low >= half) & (high - found.slope >= half)))
    one_sided = not (np.isfinite(low) and np.isfinite(high))
    sign = -1.0 if np.isfinite(low) else 1.0
    needed = (sign * error if one_sided else np.abs(error)) + half
    # A draw without an estimate supports nothing, whatever the margin.
    at = float(np.quantile(np.where(np.isfinite(needed), needed, np.inf), POWER, method="higher"))
    if one_sided:
        bound = high if sign > 0 else low
        return {"power": supported, "needs": f"a true value {'≤' if sign > 0 else '≥'} {bound - sign * at:.3g}"}
    return {"power": supported, "needs": f"a margin ≥ {at:.3g}"}


def refutation_power(
    design: Design, test: str, predicted: float, margin: float, level: float = ALPHA, times: float = 2.0
) -> float:
    """Power of refuting a claim at a level where the truth is off its prediction by so many margins, beyond the end of
    its region that is harder to leave on this grid."""
    low, high = CLAIM_TESTS[test](predicted, margin)
    sides = [side for side, end in ((-1, low), (1, high)) if np.isfinite(end)]
    claimed = {"test": test, "predicted": predicted, "margin": margin}
    shares = []
    for side in sides:
        found = design.simulate(predicted + side * times * margin)
        rows = zip(found.slope, found.se, found.dof, strict=True)
        p = [p_refute({**claimed, "estimate": slope, "se": se, "dof": dof}) for slope, se, dof in rows]
        shares.append(float(np.mean(np.array(p) <= level)))
    return min(shares)


def summarize(design: Design) -> Mapping[str, float]:
    """What the design yields at the slope that its grid expects: interior optima and the slope's standard error."""
    found = design.simulate(design.expected)
    known = np.isfinite(found.se)
    se = float(np.median(found.se[known])) if known.any() else np.nan
    return {
        "interior": float(found.interior.mean()),
        "se": se,
        "expected": design.expected,
        "detects": smallest_change(design),
    }
