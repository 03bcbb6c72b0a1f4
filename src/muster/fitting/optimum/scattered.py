"""Optima of scattered rates: minima of the simplest polynomials that the runs allow, with intervals of a degree more.

An interval that is right for the parabola alone is too short for a valley that leans by less than a test shows; the
union of it and of the cubic's, right as well, covers more than it says. One degree above what the runs ask for has the
nominal share whether that degree is needed or not, since what the lower one leaves out is estimated and its error
counted: robust bias correction with one bandwidth (Calonico, Cattaneo & Farrell 2018, J. Am. Stat. Assoc. 113, 767).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from muster.fitting.optimum.quadratic import (
    BASIN,
    CUBIC,
    ROUNDING,
    Optimum,
    Quadratic,
    Sweep,
    Window,
    fit_polynomial,
    is_even,
    measure_leans,
    noise_slope,
    seed_inflation,
    weigh,
)
from muster.statistics.pairing import paired_rows

Array = NDArray[np.float64]

MISFIT_P = 0.05
NARROWER = 2**-0.5  # each window of the one before
FURTHER = 2  # powers beyond a polynomial's degree that a test of its fit adds
GRID = 200  # points between which minima and ends of intervals are bracketed


class Local(NamedTuple):
    """The points of one shape near its minimum, `window.offset` in octaves from its best rate, and their weights."""

    window: Window
    weights: Array

    def fit(self, degree: int) -> Quadratic:
        return fit_polynomial(self.window, self.weights, degree)


class Chosen(NamedTuple):
    """What the runs of a group allow: a degree, 2 or 3, and the points by shape over which it fits."""

    degree: int
    local: dict[int, Local]


def follow_minima(sweeps: Sequence[Sweep], optima: Sequence[Optimum], octaves: float) -> list[Optimum]:
    """The optima of scattered rates, those of parabolas before, as minima of polynomials in windows that these choose.

    Where no degree fits in any window of `CUBIC` rates, or a polynomial has no minimum there, the parabola's stays.
    """
    chosen = choose(sweeps, optima, octaves)
    if chosen is None:
        return list(optima)
    from scipy import stats

    above = {index: local.fit(chosen.degree + 1) for index, local in chosen.local.items()}
    dof = sum(each.dof for each in above.values())
    scale = sum(each.rss for each in above.values()) / dof
    parabolas = {index: (*local, local.fit(2)) for index, local in chosen.local.items()}
    scale *= seed_inflation(list(parabolas.values()), scale)
    around = {index: (local.window, local.weights) for index, local in chosen.local.items()}
    leaned = measure_leans(around, parabolas) if chosen.degree == 2 else {}
    quantile = float(stats.t.ppf(0.975, dof))
    found = list(optima)
    for index, local in chosen.local.items():
        located = _locate(optima[index], local, chosen.degree, above[index], scale, quantile)
        if located is not None:
            lean, lean_se = leaned.get(index, (np.nan, np.nan))
            found[index] = replace(located, lean=lean, lean_se=lean_se)
    return found


def choose(sweeps: Sequence[Sweep], optima: Sequence[Optimum], octaves: float) -> Chosen | None:
    """The widest window, and in it the lower of two degrees, that the runs of all shapes together do not contradict.

    Windows follow the minima of cubics: beside a cliff the lowest runs do not lie around the minimum.
    """
    known = {
        index: found
        for index, (sweep, found) in enumerate(zip(sweeps, optima, strict=True))
        if found.status == "interior" and found.window is not None and not is_even(sweep.log2_lr)
    }
    gamma = noise_slope([found.window for found in known.values() if found.window is not None])
    local: dict[int, Local] = {}
    centres = dict.fromkeys(known, 0.0)
    while True:
        enough = {}
        for index in centres:
            points = _around(sweeps[index], known[index].grid_best, centres[index], octaves, gamma)
            if points is not None:
                u = minimum(points.fit(3), points.window.offset, centres[index])
                centres[index] = centres[index] if np.isnan(u) else u
                points = _around(sweeps[index], known[index].grid_best, centres[index], octaves, gamma)
            if points is not None:
                enough[index] = points
        # Where few shapes can show a misfit, that none is seen says nothing.
        if len(enough) < len(local) or 2 * len(enough) <= len(known):
            return None
        local, centres = enough, {index: centres[index] for index in enough}
        for degree in (2, 3):
            if misfit_p(list(local.values()), degree) >= MISFIT_P:
                return Chosen(degree, local)
        octaves *= NARROWER


def _around(sweep: Sweep, best: float, centre: float, octaves: float, gamma: float) -> Local | None:
    """The points within half of `octaves` of a centre, which like offsets counts from the best rate; None of few."""
    usable = sweep.usable()
    offset = sweep.log2_lr[usable] - best
    chosen = np.abs(offset - centre) <= octaves / 2
    if chosen.sum() < CUBIC:
        return None
    window = Window(best, offset[chosen], paired_rows(sweep.log_loss[:, usable])[:, chosen])
    return Local(window, weigh(window, gamma))


def misfit_p(local: Sequence[Local], degree: int) -> float:
    """p of the F test that two further powers improve the polynomials of all shapes together."""
    from scipy import stats

    rest, full = ([each.fit(power) for each in local] for power in (degree, degree + FURTHER))
    without, left = (sum(fit.rss for fit in fits) for fits in (rest, full))
    dof, added = sum(fit.dof for fit in full), FURTHER * len(local)
    # Residuals at the level of rounding have no scale of their own.
    floor = dof * ROUNDING**2
    return float(stats.f.sf(max(without - left, 0.0) / added / (max(left, floor) / dof), added, dof))


def minimum(fit: Quadratic, offset: Array, near: float) -> float:
    """The minimum of a polynomial within its points [K] that is nearest to a place; NaN without any.

    By sign changes of the slope: `polyroots` loses roots beside a leading coefficient of rounding.
    """
    from scipy import optimize

    slope = polynomial.polyder(fit.beta)
    path = np.linspace(offset[0], offset[-1], GRID)
    values = polynomial.polyval(path, slope)
    before = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not len(before):
        return np.nan
    first = before[np.abs(path[before] - near).argmin()]
    return float(optimize.brentq(polynomial.polyval, path[first], path[first + 1], args=(slope,)))


def stationary_interval(fit: Quadratic, scale: float, quantile: float, at: float, ends: Array) -> tuple[float, float]:
    """All u around a minimum `at` with p′(u)² ≤ quantile² Var p′(u), within `ends`: Fieller's (1954) interval for
    polynomials of any degree. scale: the residual variance."""
    from scipy import optimize

    powers = np.arange(1, len(fit.beta))
    cov = fit.unscaled_cov[1:, 1:] * np.outer(powers, powers) * scale * quantile**2

    def excess(u: float | Array) -> Array:
        terms = np.power.outer(np.asarray(u, float), powers - 1)
        return np.asarray((terms @ (fit.beta[1:] * powers)) ** 2 - np.einsum("...i,ij,...j", terms, cov, terms))

    found = []
    for end in (ends[0], ends[-1]):
        path = np.linspace(at, end, GRID)
        out = np.flatnonzero(excess(path) > 0)
        first = int(out[0]) if len(out) else -1
        found.append(at if first == 0 else end if first < 0 else optimize.brentq(excess, path[first - 1], path[first]))
    return float(found[0]), float(found[1])


def _locate(
    found: Optimum, local: Local, degree: int, above: Quadratic, scale: float, quantile: float
) -> Optimum | None:
    """An optimum at the minimum of the polynomial of that degree; its interval, that of the polynomial `above`, reaches
    as far as the minimum itself."""
    offset, best = local.window.offset, local.window.grid_best
    fit = local.fit(degree)
    u = minimum(fit, offset, 0.0)
    v = minimum(above, offset, u)
    if np.isnan(u) or np.isnan(v):
        return None
    low, high = stationary_interval(above, scale, quantile, v, offset)
    low, high = min(low, u), max(high, u)
    half = float(np.sqrt(2 * BASIN / polynomial.polyval(u, polynomial.polyder(fit.beta, 2))))
    return replace(
        found,
        log2_lr=best + u,
        se=(high - low) / (2 * quantile),
        ci_low=best + low,
        ci_high=best + high,
        loss=float(np.exp(polynomial.polyval(u, fit.beta))),
        basin_low=best + max(u - half, offset[0]),
        basin_high=best + min(u + half, offset[-1]),
        n_points=len(offset),
        n_runs=int(local.window.runs.sum()),
        asymmetric=degree > 2,
    )
