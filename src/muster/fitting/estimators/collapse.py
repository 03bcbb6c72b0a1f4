"""Curve collapse: the exponent that lays the curves of all values of an axis on top of each other."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    NoOptions,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.estimators.power_law import jackknife_se
from muster.fitting.frames import count, groups, levels, natural_log, seed_matrix
from muster.fitting.usable import usable_rows
from muster.statistics.linear import Estimate, slope_ols

Array = NDArray[np.float64]

VARIANTS = ("shift_t", "jackknife")
PARAMETERS = ("exponent", "distance")
GRID = 121
MIN_CURVES = 3
MIN_POINTS = 4  # of a curve, and of two curves in common: a cubic through fewer is no interpolation


class CollapseOptions(NoOptions):
    """Options of `collapse`."""

    over: str = Field(description="The curves' own axis (log2_lr, step, ...), which is rescaled")
    level: Literal["shared", "free"] = Field(
        "shared", description="free: each curve may lie higher or lower, only the shapes must agree"
    )
    overlap: float = Field(0.5, gt=0, le=1, description="Share of the shorter range on which neighbours must overlap")
    permutations: int = Field(200, ge=20, description="Relabellings of the curves; all of them where there are fewer")


@dataclass(frozen=True)
class Curve:
    """The curve of one value s of the axis: increasing ln x [K], mean ln y [K] over seeds, and the variance of that
    mean, averaged over its points (NaN for one seed)."""

    s: float
    log_x: Array
    log_y: Array
    variance: float

    @cached_property
    def at(self) -> Callable[[Array], Array]:
        """ln y of any ln x by a cubic spline; NaN outside the curve. Linear interpolation would favour shifts by whole
        grid steps, where it makes no error."""
        from scipy.interpolate import CubicSpline

        return CubicSpline(self.log_x, self.log_y, extrapolate=False)


def distance(a: Curve, b: Curve, shift: Array, level: str) -> Array:
    """Mean squared difference of ln y [J] between two curves when `a` is moved by −shift [J] in ln x.

    Each curve's points are compared with the other's interpolation (after Houdayer & Hartmann 2004, Appendix A).
    NaN with fewer than four points to compare.
    """
    moved = np.concatenate(
        [a.log_y - b.at(a.log_x - shift[:, None]), a.at(b.log_x + shift[:, None]) - b.log_y],
        axis=1,
    )
    known = np.isfinite(moved)
    n = known.sum(axis=1)
    moved = np.where(known, moved, 0.0)
    if level == "free":
        moved -= np.where(known, (moved.sum(axis=1) / np.maximum(n, 1))[:, None], 0.0)
    square = np.square(moved).sum(axis=1) / np.maximum(n, 1)
    return np.where(n >= MIN_POINTS, square, np.nan)


def shift_range(a: Curve, b: Curve, overlap: float) -> tuple[float, float]:
    """Shifts that leave two curves `overlap` of the shorter one's range in common."""
    need = overlap * min(np.ptp(a.log_x), np.ptp(b.log_x))
    return float(a.log_x[0] - b.log_x[-1] + need), float(a.log_x[-1] - b.log_x[0] - need)


@dataclass(frozen=True)
class Collapse:
    """The best exponent, the mean squared distance of neighbours there, and whether the search ended at its border."""

    exponent: float
    quality: float
    at_border: bool


def find_collapse(curves: Sequence[Curve], log_s: Array, options: CollapseOptions, refine: bool = True) -> Collapse:
    """Minimize the mean squared distance of neighbours in s under x → x / s^exponent, over all exponents at which
    neighbours overlap. NaN where there are none."""
    from scipy import optimize

    order = np.argsort(log_s)
    pairs = [(curves[i], curves[j], log_s[i] - log_s[j]) for i, j in itertools.pairwise(order)]
    ranges = np.array([np.sort(np.divide(shift_range(a, b, options.overlap), gap)) for a, b, gap in pairs])
    low, high = ranges[:, 0].max(), ranges[:, 1].min()
    if not low < high:
        return Collapse(np.nan, np.nan, True)

    def quality(exponent: Array) -> Array:
        return np.mean([distance(a, b, exponent * gap, options.level) for a, b, gap in pairs], axis=0)

    grid = np.linspace(low, high, GRID)
    values = quality(grid)
    if np.isnan(values).all():
        return Collapse(np.nan, np.nan, True)
    best = int(np.nanargmin(values))
    at_border = best in (0, GRID - 1)
    if not refine or at_border:
        return Collapse(float(grid[best]), float(values[best]), at_border)
    found = optimize.minimize_scalar(
        lambda exponent: quality(np.array([exponent]))[0],
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Collapse(float(found.x), float(found.fun), False)


def positions(curves: Sequence[Curve], options: CollapseOptions) -> Array:
    """Where each curve lies in ln x relative to the first: sums of the shifts that best align neighbours, pair by pair.
    NaN from a pair on whose best shift the search ended at its border."""
    steps = []
    for a, b in itertools.pairwise(curves):
        found = find_collapse([a, b], np.log([a.s, b.s]), options)
        steps.append(np.nan if found.at_border else found.exponent * np.log(b.s / a.s))
    return np.concatenate([[0.0], np.cumsum(steps)])


def permutation_p(curves: Sequence[Curve], options: CollapseOptions) -> float:
    """Share of relabellings of the curves, the true one included, that collapse as well at their own best exponent.

    Null hypothesis: a curve's place has nothing to do with its s. All W! relabellings where they are few enough, else
    random ones. One that leaves no exponent at which neighbours overlap does not collapse.
    """
    log_s = np.log([curve.s for curve in curves])
    if math.factorial(len(curves)) <= options.permutations:
        orders = np.array(list(itertools.permutations(range(len(curves)))))[1:]
    else:
        rng = np.random.default_rng(0)
        orders = np.array([rng.permutation(len(curves)) for _ in range(options.permutations - 1)])
    observed = find_collapse(curves, log_s, options, refine=False).quality
    others = np.array([find_collapse(curves, log_s[order], options, refine=False).quality for order in orders])
    return float((1 + (others <= observed * (1 + 1e-9)).sum()) / (1 + len(orders)))


def read_curves(rows: pd.DataFrame, fit: FitConfig, over: str) -> list[Curve]:
    """One curve per value of the axis, points that any seed lost left out; curves with fewer than four points too."""
    curves = []
    for s, level in levels(rows, fit.along):
        matrix = seed_matrix(level, fit.response, [over]).dropna(axis=1)
        if matrix.shape[1] < MIN_POINTS:
            continue
        grid = natural_log(pd.DataFrame({over: matrix.columns.get_level_values(0)}), over, "options.over")
        y = np.log(matrix.to_numpy(float))
        variance = float(y.var(axis=0, ddof=1).mean() / len(y)) if len(y) > 1 else np.nan
        curves.append(Curve(s, grid, y.mean(axis=0), variance))
    return curves


def relative_distance(curves: Sequence[Curve], quality: float) -> float:
    """Root mean squared distance of neighbours relative to what the seeds alone would make of it; NaN for one seed."""
    noise = np.mean([a.variance + b.variance for a, b in itertools.pairwise(curves)])
    return float(np.sqrt(quality / noise)) if noise > 0 else np.nan


def collapse(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Exponent κ for which y as a function of x / s^κ is the same curve at all values s of `along`: a feature of the
    curve, such as its minimum, lies at x ∝ s^κ.

    Variants: `shift_t`, slope of the curves' positions, found two neighbours at a time, on ln s, with t(W − 2);
    `jackknife`, the exponent that minimizes the mean squared distance of neighbours in ln y, with errors from leaving
    out one s at a time. `distance` is that minimum's root relative to the seeds' noise: 1 is a perfect collapse. The
    permutation p-value stands in the diagnostics. Fewer than three curves give `too_few`, an optimum at the border of
    the exponents at which neighbours overlap `not_identified`.
    """
    options = parse_options(CollapseOptions, fit)
    primary = primary_variant(fit, VARIANTS)
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        used, lost = usable_rows(rows, [options.over], [fit.response, fit.along])
        used = used if "seed" in used.columns else used.assign(seed=0)
        curves = read_curves(used, fit, options.over)
        s = np.array([curve.s for curve in curves])
        log_s = np.log(s)
        notes, status = [lost], "ok"
        estimates = {parameter: nothing(VARIANTS) for parameter in PARAMETERS}
        diagnostics: dict[str, Any] = {}
        if len(curves) < MIN_CURVES:
            status = "too_few"
            notes.insert(0, f"{len(curves)} curves of at least {MIN_POINTS} points, {MIN_CURVES} are needed")
        else:
            found = find_collapse(curves, log_s, options)
            status = "not_identified" if found.at_border else "ok"
            places = positions(curves, options)
            estimates = _estimates(curves, log_s, found, places, options)
            p = permutation_p(curves, options)
            diagnostics = {"permutation_p": p, "rms_distance": np.sqrt(found.quality), "log_positions": places}
            notes.insert(0, f"permutation p {p:.3g}, neighbours differ by {np.sqrt(found.quality):.3g} in the log")
        for parameter in PARAMETERS:
            fits += fit_rows(
                group,
                estimates[parameter],
                primary,
                parameter=parameter,
                status=status,
                note=", ".join(filter(None, notes)),
                counts=count(used),
                x=s,
                diagnostics=diagnostics,
            )
    return FitResult(pd.DataFrame(fits))


def _estimates(
    curves: Sequence[Curve], log_s: Array, found: Collapse, places: Array, options: CollapseOptions
) -> dict[str, dict[str, Estimate]]:
    """Both parameters under every variant."""

    def without(kept: NDArray[np.intp]) -> tuple[list[Curve], Collapse]:
        part = [curves[i] for i in kept]
        return part, find_collapse(part, log_s[kept], options)

    def exponent(kept: NDArray[np.intp]) -> float:
        return without(kept)[1].exponent

    def ratio(kept: NDArray[np.intp]) -> float:
        part, best = without(kept)
        return relative_distance(part, best.quality)

    every = np.arange(len(curves))
    dof = len(curves) - 1
    straight = slope_ols(log_s, places) if np.isfinite(places).all() else nothing(VARIANTS)["shift_t"]
    distance_ratio = Estimate(relative_distance(curves, found.quality), jackknife_se(every, ratio), dof)
    return {
        "exponent": {
            "shift_t": straight._replace(intercept=np.nan),
            "jackknife": Estimate(found.exponent, jackknife_se(every, exponent), dof),
        },
        "distance": dict.fromkeys(VARIANTS, distance_ratio),
    }


ESTIMATORS.register("collapse")(
    Estimator(
        "Exponent under which the curves of all values of an axis fall on one: y(x; s) = f(x / s^exponent)",
        collapse,
        VARIANTS,
        min_points=MIN_CURVES,
        parameters=PARAMETERS,
        source="Houdayer & Hartmann 2004, Appendix A, and Bhattacharjee & Seno 2001 (distance to the other curves' "
        "interpolation); Tukey's jackknife; Phipson & Smyth 2010 (permutation p-value)",
        assumes="One smooth curve for all s, moved along ln x by a power of s; curves scatter independently around it",
        fails="A curve that is itself a power of x has no place on the axis: nothing is identified. An exponent of 0 "
        "leaves the permutation test without power, and so do three curves (p ≥ 1/3, because reversing evenly spaced s "
        "only turns the exponent's sign). Points too sparse for a cubic spline",
        needs=(),
        options=CollapseOptions,
    )
)
