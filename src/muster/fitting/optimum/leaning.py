"""Valleys that lean more and more along an axis: their vertices move against their minima, and a slope with them.

A parabola over five rates does not show its own lean: what a cubic over seven adds has there an error four times as
large. From seven rates on, each shape tells how far the minimum of a cubic lies from the vertex (`Optimum.lean`).
Where that distance moves along the axis by more than noise makes it, an interval takes in what the cubics give.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from muster.fitting.optimum.quadratic import ROUNDING, Optimum
from muster.statistics.linear import Estimate, enclosing, slope_ols

Array = NDArray[np.float64]

DRIFT_T = 1.645  # errors: a lean that does not drift moves as much in 10 % of sweeps
FEWEST = 3


def leans_of(optima: Sequence[Optimum]) -> tuple[Array, Array]:
    """How far the minima of cubics lie from the vertices, in octaves, and the errors of that [W]; NaN where unknown."""
    return np.array([each.lean for each in optima]), np.array([each.lean_se for each in optima])


def cubic_line(log_x: Array, y: Array, lean: Array, lean_se: Array) -> Estimate | None:
    """The least-squares line over ln x through the minima of the cubics, y + lean [W], where its slope differs from
    that through the vertices y of the same shapes by more than noise explains; else None, as below three shapes.

    All in one unit. The error of the difference follows from those of the single leans; scatter between shapes moves
    both lines alike and is none of it.
    """
    known = np.isfinite(lean) & np.isfinite(lean_se)
    if known.sum() < FEWEST:
        return None
    x = log_x[known] - log_x[known].mean()
    drift, error = float(x @ lean[known] / (x @ x)), float(np.sqrt(x**2 @ lean_se[known] ** 2) / (x @ x))
    if not abs(drift) > max(DRIFT_T * error, np.sqrt(ROUNDING)):
        return None
    return slope_ols(log_x[known], y[known] + lean[known])


def take_in(found: Estimate, line: Estimate | None) -> Estimate:
    """An estimate whose interval is widened until it holds that of the line through the cubics' minima."""
    if line is None or not np.isfinite(found.se):
        return found
    (low, high), (least, most) = found.interval(), line.interval()
    if low <= least and most <= high:
        return found
    return enclosing(found.estimate, (min(low, least), max(high, most)), found.dof)._replace(intercept=found.intercept)


def leaning_note(line: Estimate | None) -> str:
    """What a reader should know of valleys whose lean drifts, in one clause."""
    return "" if line is None else f"valleys lean more and more: slope {line.estimate:.3g} through minima of cubics"
