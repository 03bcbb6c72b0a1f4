"""Valleys that lean more and more along an axis: their vertices move against their minima, and a slope with them.

A parabola over five rates does not show its own lean, and the minimum of a cubic over the same five has three times the
error of its vertex; over seven it has 1.6 times. From seven rates on, each shape tells how far the minimum of a cubic
lies from the vertex (`Optimum.lean`). Where that distance moves along the axis by more than its error, an interval
takes in as much of it as is likely to be real.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muster.fitting.optimum.quadratic import CUBIC, ROUNDING, Optimum
from muster.statistics.linear import Estimate, enclosing, slope_ols

Array = NDArray[np.float64]

FEWEST = 3
LEFT = CUBIC - 4  # degrees of freedom that a cubic leaves of the fewest rates


class Lean(NamedTuple):
    """How a lean drifts along the axis, in the unit of the optima: its slope over ln x, the error of that, and the
    share of it that is likely to be real. known [W]: the shapes that tell."""

    drift: float
    error: float
    share: float
    known: NDArray[np.bool_]


def leans_of(optima: Sequence[Optimum]) -> tuple[Array, Array]:
    """How far the minima of cubics lie from the vertices, in octaves, and the errors of that [W]; NaN where unknown."""
    return np.array([each.lean for each in optima]), np.array([each.lean_se for each in optima])


def drift_of_lean(log_x: Array, lean: Array, lean_se: Array) -> Lean | None:
    """The drift of leans [W] over ln x; None where it does not exceed its error, or below three shapes that tell.

    Its error follows from those of the single leans; scatter between shapes moves vertices and minima alike and is none
    of it. A drift that is normal around 0 with a variance of its own, which d² − e² estimates, is on average 1 − e²/d²
    of what is seen, give or take e √(1 − e²/d²) (empirical Bayes: Morris 1983, J. Am. Stat. Assoc. 78, 47). To take in
    all of it, or none below some t, covered less, with intervals as wide.
    """
    known = np.isfinite(lean) & np.isfinite(lean_se)
    if known.sum() < FEWEST:
        return None
    x = log_x[known] - log_x[known].mean()
    drift, error = float(x @ lean[known] / (x @ x)), float(np.sqrt(x**2 @ lean_se[known] ** 2) / (x @ x))
    if not abs(drift) > max(error, np.sqrt(ROUNDING)):
        return None
    return Lean(drift, error, 1 - (error / drift) ** 2, known)


def leaned_line(log_x: Array, y: Array, lean: Lean | None) -> Estimate | None:
    """The least-squares line over ln x through vertices y [W], tilted by the real share of a drift of their lean.

    Its interval adds the squares of two half widths, that of the line and that of the share (Zou & Donner 2008, Stat.
    Med. 27, 1693), each by t with its own degrees of freedom: the residuals of all cubics know the second better than
    few shapes know their scatter.
    """
    from scipy import stats

    if lean is None:
        return None
    line = slope_ols(log_x[lean.known], y[lean.known])
    slope = line.estimate + lean.share * lean.drift
    spread = float(stats.t.ppf(0.975, LEFT * lean.known.sum())) * lean.error * np.sqrt(lean.share)
    half = float(np.hypot(np.ptp(line.interval()) / 2, spread))
    return Estimate(slope, np.nan, line.dof, ci=(slope - half, slope + half))


def take_in(found: Estimate, line: Estimate | None) -> Estimate:
    """An estimate whose interval is widened until it holds that of another line."""
    if line is None or not np.isfinite(found.se):
        return found
    (low, high), (least, most) = found.interval(), line.interval()
    if low <= least and most <= high:
        return found
    return enclosing(found.estimate, (min(low, least), max(high, most)), found.dof)._replace(intercept=found.intercept)


def leaning_note(lean: Lean | None) -> str:
    """What a reader should know of valleys whose lean drifts, in one clause."""
    if lean is None:
        return ""
    seen = f"(t = {abs(lean.drift) / lean.error:.2g})" if lean.error > 0 else "(exactly)"
    return f"cubics lean along the axis {seen}: the interval takes in {lean.share * lean.drift:+.2g} on the slope"
