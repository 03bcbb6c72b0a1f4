"""Does the optimal learning rate converge as an axis grows: the drift that is left beyond the largest shape."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, Optima
from muster.fitting.estimators.lr_transfer import (
    MEMBER,
    TransferOptions,
    locate,
    optimum_rows,
    shape_optima,
    shapes_note,
)
from muster.fitting.frames import count, positive_axis
from muster.fitting.optimum.leaning import drift_of_lean, leaned_line, leaning_note, take_in
from muster.fitting.per_group import per_group
from muster.statistics.components import Component, largest
from muster.statistics.linear import Estimate, slope_ols

Array = NDArray[np.float64]

VARIANTS = ("profile", "ols_t")
MIN_SHAPES = 4  # two parameters, and two degrees of freedom for the scatter
KNOTS = 81
LEAST_ROOT = 1e-6
MOST_DRIFT = 3.0  # ln lr* beyond the largest shape: a factor of twenty, more than any claim of a limit


class LimitOptions(TransferOptions):
    """Options of `limit_rate`."""

    power: float = Field(0.5, gt=0, description="γ of the approach lr∞ (1 − c n^−γ); the theorem of µP has ½")


class Approach(NamedTuple):
    """ln lr* = a + ln(1 − c x^−γ), by the drift left D = −ln(1 − c x_max^−γ): its estimate, ln of the limit a, residual
    scatter, and the signed root of the profile likelihood, in units of t, over a grid of D [P]."""

    drift: float
    limit: float
    scatter: float
    values: Array
    roots: Array


def upper_half(x: Array) -> NDArray[np.bool_]:
    """The larger half of the values, the middle one included."""
    return np.asarray(x >= np.sort(x)[len(x) // 2])


def fit_approach(x: Array, y: Array, power: float) -> Approach:
    """Least squares of y = ln lr* [W] on the approach to a limit; W ≥ 4.

    Given D the level a is a mean, so one number is searched: on a grid of D, then between its neighbours (Brent). The
    root is sign(D̂ − D) … √((RSS(D) − RSS(D̂)) / s²) with s² = RSS(D̂)/(W − 2), which for a line is Student's t.
    c x_min^−γ < 1, since a rate is positive, bounds D where the range of x is short.
    """
    from scipy import optimize

    ratio = (x / x.max()) ** -power

    def curve(drift: float) -> Array:
        return np.log1p(np.expm1(-drift) * ratio)

    def rss(drift: float) -> float:
        left = y - curve(drift)
        return float(np.square(left - left.mean()).sum())

    most = float(-np.log1p(-0.999999 / ratio.max())) if ratio.max() > 1 else MOST_DRIFT
    grid = np.unique(np.r_[-np.geomspace(1e-3, MOST_DRIFT, KNOTS // 2), 0.0, np.geomspace(1e-3, most, KNOTS)])
    grid = np.unique(np.r_[grid, most * (1 - np.geomspace(1e-5, 1e-1, 20))])
    heights = np.array([rss(drift) for drift in grid])
    at = int(heights.argmin())
    ends = (float(grid[max(at - 1, 0)]), float(grid[min(at + 1, len(grid) - 1)]))
    found = optimize.minimize_scalar(rss, bounds=ends, method="bounded", options={"xatol": 1e-9})
    drift, least = (float(found.x), float(found.fun)) if found.fun < heights[at] else (float(grid[at]), heights[at])
    variance = least / (len(x) - 2)
    values = np.unique(np.r_[grid, drift])
    excess = np.array([max(rss(value) - least, 0.0) for value in values])
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.sign(values - drift) * np.sqrt(excess / variance)
    # A value between two that are not excluded is not excluded either, should the likelihood turn.
    above, below = values > drift, values < drift
    roots[above] = np.minimum.accumulate(roots[above][::-1])[::-1]
    roots[below] = np.maximum.accumulate(roots[below])
    left = y - curve(drift)
    return Approach(drift, float(left.mean()), float(np.sqrt(variance)), values, roots)


def either(first: Approach, other: Approach) -> Approach:
    """The first approach, with roots that exclude a drift no more than either of the two does: sets of values that are
    not excluded, at any level, become their union."""
    values = np.unique(np.r_[first.values, other.values])
    one, two = (np.interp(values, each.values, each.roots) for each in (first, other))
    nearer = np.where(np.sign(one) == np.sign(two), np.minimum(np.abs(one), np.abs(two)), 0.0)
    side = np.sign(values - first.drift)
    # A root of 0 away from the estimate would be read as an estimate without error.
    return first._replace(values=values, roots=side * np.maximum(nearer, LEAST_ROOT))


def limit_rate(rows: pd.DataFrame, fit: FitConfig, options: LimitOptions) -> Iterator[Fitted | Optima]:
    """Drift of ln lr* left between the largest measured shape and the limit, if ln lr* = a + ln(1 − c x^−γ).

    Parameters: `drift_left`, −ln(1 − c x_max^−γ), with the profile likelihood's interval and, in the diagnostics, its
    signed root, from which a claim's p follows at its own bound; `local_exponent`, d ln lr* / d ln x over the larger
    half of the shapes, by least squares. Optima as `lr_transfer`; fewer than four interior ones give `too_few`.
    """
    found = shape_optima(rows, fit, options)
    yield Optima(optimum_rows(fit.along, found))
    located, lost = locate(found), shapes_note(found, fit.along)
    used = rows[rows[fit.along].isin(located.x)]
    counts = count(used if len(used) else rows)
    if len(located.x) < MIN_SHAPES:
        few = f"{len(located.x)} of {len(found)} shapes have an interior optimum, {MIN_SHAPES} are needed"
        note = ", ".join(filter(None, [few, lost]))
        for parameter in ("drift_left", "local_exponent"):
            yield Fitted({}, parameter=parameter, status="too_few", note=note, counts=counts, x=located.x)
        return
    log_x = positive_axis(located.x, fit.along)
    approach = fit_approach(located.x, located.y, options.power)
    dof, lean = len(log_x) - 2, drift_of_lean(log_x, located.lean, located.lean_se)
    if lean is not None and lean.known.sum() >= MIN_SHAPES:
        minima = (located.y + lean.share * located.lean)[lean.known]
        leaned = fit_approach(located.x[lean.known], minima, options.power)
        approach, dof = either(approach, leaned), int(lean.known.sum()) - 2
    exact = approach.scatter < 1e-9  # rounding is no precision: optima of a grid may lie on any curve
    component = Component(
        float(located.x.max()),
        approach.drift,
        np.nan if exact else 0.0,
        dof,
        values=approach.values.tolist(),
        roots=approach.roots.tolist(),
    )
    told = f"scatter {approach.scatter:.3g}, limit ln lr {approach.limit:.4g}"
    yield Fitted(
        {"profile": largest([component])},
        parameter="drift_left",
        note=", ".join(filter(None, [told, lost, leaning_note(lean)])),
        counts=counts,
        x=located.x,
        diagnostics={} if exact else {"components": [component._asdict()], "of": "profile", "refutes": False},
    )
    half = upper_half(located.x)
    local = Estimate(np.nan, np.nan, np.nan)
    if half.sum() > 2:
        lean = drift_of_lean(log_x[half], located.lean[half], located.lean_se[half])
        local = slope_ols(log_x[half], located.y[half])
        local = take_in(local, leaned_line(log_x[half], located.y[half], lean))
    note = f"over {fit.along} {located.x[half].min():g} to {located.x.max():g}"
    yield Fitted(
        {"ols_t": local}, parameter="local_exponent", note=note, counts=counts, x=located.x[half], primary="ols_t"
    )


ESTIMATORS.register("limit_rate")(
    per_group(
        "Drift of the optimal learning rate left beyond the largest shape, if it converges as n^−γ",
        limit_rate,
        VARIANTS,
        min_points=MIN_SHAPES,
        parameters=("drift_left", "local_exponent"),
        two_ends=frozenset({"drift_left"}),
        needs=("seed", MEMBER),
        options=LimitOptions,
        make_optima=True,
        source="The optimum under µP converges at n^−½; profile likelihood: Bates & Watts 1988, Section 6.1",
        assumes="ln lr* approaches a limit with the given power; scatter between shapes independent and of one size",
        fails="It supposes a limit and so cannot refute one: a power law n^.2 leaves little drift with γ = 1; a limit "
        "that is far away leaves much and is not supported, though it exists; where valleys lean more and more, its "
        "interval takes in what is likely to be real of that, from seven rates on",
    )
)
