"""What a rate costs that is not the optimum: relative loss read off a fitted sweep, with its error."""

from collections.abc import Sequence

import numpy as np

from muster.fitting.optimum.quadratic import Optimum, Sweep
from muster.statistics.components import Component
from muster.statistics.fieller import vertex_se
from muster.statistics.linear import slope_ols
from muster.statistics.pairing import column_means, paired_rows

MIN_WANDER = 4  # shapes from which the scatter of optima around a line is an error of one seed's optima


class OutsideGrid(Exception):
    """The rate lies where the shape has no finite loss."""


def _scatter(found: Sequence[Optimum]) -> tuple[float, int]:
    """Standard deviation of the optima around a line over ln x, in octaves, and its degrees of freedom; 0 where seeds
    show it themselves, or where shapes are too few or their axis has no logarithm.

    One seed's whole curve may lie sideways, which its own residuals do not show: what a line does not explain bounds it
    from above.
    """
    seeds = max(len(each.window.log_loss) for each in found if each.window is not None)
    x = np.array([each.x for each in found])
    if seeds > 1 or len(x) < MIN_WANDER or (x <= 0).any():
        return 0.0, 0
    line = slope_ols(np.log(x), np.array([each.log2_lr for each in found]))
    spread = float(np.square(np.log(x) - np.log(x).mean()).sum())
    return float(line.se * np.sqrt(spread)), len(x) - 2


def _freedom(found: Sequence[Optimum]) -> int:
    """Degrees of freedom of the optima's errors: of the quadratics' residuals and, with several seeds, of these, the
    fewer. Where seeds' curves lie sideways of each other, the errors are from the seeds' own vertices, of which there
    are few: two seeds and residual degrees of freedom supported a regret at its bound in .08 instead of .05."""
    windows = [each.window for each in found if each.window is not None]
    residual = sum(each.refit().dof for each in found if each.window is not None)
    seeds = sum(max(len(window.complete) - 1, 0) for window in windows)
    return min(residual, seeds) if seeds else residual


def sideways_error(found: Sequence[Optimum]) -> tuple[float, int]:
    """How far one seed's optima scatter sideways, in octaves, and the degrees of freedom of the costs' errors."""
    scatter, few = _scatter(found)
    return scatter, few if scatter > min(each.se for each in found) else _freedom(found)


def rate_and_error(optimum: Optimum) -> tuple[float, float]:
    """An optimum's rate (log2) and its standard error, in octaves."""
    return optimum.grid_best + optimum.refit().vertex(), optimum.se


def cost_of_rate(rate: tuple[float, float], other: Optimum, sweep: Sweep, scatter: float, dof: int) -> Component:
    """√regret of one shape at a rate (log2, and its standard error), with the delta method's error through that rate,
    the shape's own optimum and its curvature. Raises OutsideGrid.

    Inside the window r = β₂ (u − v)², u the transferred rate and v the own vertex, so √r is as normal as u − v is, and
    Var √r = β₂ Var u + [Var β₁ + (u + v)² Var β₂ + 2 (u + v) Cov(β₁, β₂)] / (4 β₂). Outside it ln loss is interpolated
    (Akima) and its slope there takes the place of β₂'s.
    """
    own = other.refit()
    at, error = rate
    offset, vertex, least = at - other.grid_best, own.vertex(), own.at(own.vertex())
    moved = max(error, scatter) ** 2
    # The residual variance behind an optimum is known from its error.
    scale = (other.se / vertex_se(own.beta, own.unscaled_cov)) ** 2 if own.rss > 0 else 0.0
    cov = own.unscaled_cov * scale
    sideways = max(scatter**2 - other.se**2, 0.0)
    window = other.window
    if window is not None and window.offset[0] <= offset <= window.offset[-1]:
        value = own.at(offset) - least
        ends = offset + vertex
        within = (cov[1, 1] + ends**2 * cov[2, 2] + 2 * ends * cov[1, 2]) / (4 * own.beta[2])
        variance = own.beta[2] * (moved + sideways) + max(float(within), 0.0)
    else:
        value, steepness = _interpolated(sweep, at)
        value -= least
        around = steepness**2 * (moved + sideways) + scale + float(cov[0, 0])
        variance = around / (4 * max(value, 1e-300))
    return Component(other.x, float(np.sqrt(max(value, 0.0))), float(np.sqrt(variance)), dof, squared=True)


def _interpolated(sweep: Sweep, rate: float) -> tuple[float, float]:
    """ln loss and its slope per octave at a rate beyond the window, between rates at which no run was lost."""
    from scipy import interpolate

    rates, usable = sweep.log2_lr, sweep.usable()
    right = int(np.searchsorted(rates, rate))
    if not (0 < right < len(rates) and right - 1 in usable and right in usable):
        raise OutsideGrid
    means = column_means(paired_rows(sweep.log_loss[:, usable]))
    curve = interpolate.Akima1DInterpolator(rates[usable], means, method="makima")
    return float(curve(rate)), float(curve(rate, 1))
