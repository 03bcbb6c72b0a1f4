"""Regret: what it costs to use the smallest shape's optimal learning rate on a larger shape."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, Optima, no_estimates
from muster.fitting.estimators.lr_transfer import (
    MEMBER,
    WindowOptions,
    optimum_rows,
    shape_optima,
    shape_sweeps,
    shapes_note,
)
from muster.fitting.optimum.quadratic import Optimum, Sweep
from muster.fitting.per_group import per_group
from muster.statistics.components import Component, largest
from muster.statistics.fieller import vertex_se
from muster.statistics.linear import Estimate, slope_ols
from muster.statistics.pairing import column_means, paired_rows

VARIANTS = ("worst", "mean")
MIN_WANDER = 4  # shapes from which the scatter of optima around a line is an error of one seed's optima

Array = NDArray[np.float64]


class _Outside(Exception):
    """The transferred rate lies where the larger shape has no finite loss."""


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


def _component(small: Optimum, other: Optimum, sweep: Sweep, scatter: float, dof: int) -> Component:
    """√regret of one larger shape, with the delta method's error through both optima and the curvature.

    Inside the window r = β₂ (u − v)², u the transferred rate and v the own vertex, so √r is as normal as u − v is, and
    Var √r = β₂ Var u + [Var β₁ + (u + v)² Var β₂ + 2 (u + v) Cov(β₁, β₂)] / (4 β₂). Outside it ln loss is interpolated
    (Akima) and its slope there takes the place of β₂'s.
    """
    own, source = other.refit(), small.refit()
    rate = small.grid_best + source.vertex()
    offset, vertex, least = rate - other.grid_best, own.vertex(), own.at(own.vertex())
    moved = max(small.se, scatter) ** 2
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
        value, steepness = _interpolated(sweep, rate)
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
        raise _Outside
    means = column_means(paired_rows(sweep.log_loss[:, usable]))
    curve = interpolate.Akima1DInterpolator(rates[usable], means, method="makima")
    return float(curve(rate)), float(curve(rate, 1))


def regret(rows: pd.DataFrame, fit: FitConfig, options: WindowOptions) -> Iterator[Fitted | Optima]:
    """Relative loss, ln(loss at the transferred rate / loss at the own optimum), of using the smallest shape's optimal
    learning rate on each larger shape.

    Both losses are read from the larger shape's fitted quadratic, or by interpolation between its rates when the
    transferred rate lies outside the window. Errors are those of both optima, so that one seed has them too; they are
    normal for √regret, not for the regret, whose delta error vanishes at 0. Noise makes the regret larger, against the
    claim. Variants: `worst`, over every larger shape (all are kept in the diagnostics, and which decides depends on
    the claimed bound: `statistics.components`); `mean` over shapes. A transferred rate that diverges, or falls off the
    grid, gives status `diverged`.
    """
    found = shape_optima(rows, fit, options)
    yield Optima(optimum_rows(fit.along, found))
    yield _compare(rows, fit, found)._replace(x=[optimum.x for optimum in found])


def _compare(rows: pd.DataFrame, fit: FitConfig, found: list[Optimum]) -> Fitted:
    none = no_estimates(VARIANTS)
    if len(found) < 2:
        return Fitted(none, status="too_few", note=f"{len(found)} values of {fit.along}, 2 are needed")
    if any(optimum.status != "interior" for optimum in found):
        first = next(optimum.status for optimum in found if optimum.status != "interior")
        return Fitted(
            none, status=first, note=f"every shape needs an interior optimum: {shapes_note(found, fit.along)}"
        )
    small, larger = found[0], found[1:]
    sweeps = {sweep.x: sweep for sweep in shape_sweeps(rows, fit)}
    scatter, few = _scatter(found)
    dof = few if scatter > min(each.se for each in found) else _freedom(found)
    components = []
    try:
        for optimum in larger:
            components.append(_component(small, optimum, sweeps[optimum.x], scatter, dof))
    except _Outside:
        note = f"the rate of {fit.along} {small.x:g} diverges, or is off the grid, at a larger {fit.along}"
        return Fitted(none, status="diverged", note=note)
    worst = largest(components)
    at = max(components, key=lambda each: each.value).at
    return Fitted(
        {"worst": worst, "mean": _mean(components)},
        note=f"worst at {fit.along} {at:g}, rate from {fit.along} {small.x:g}",
        diagnostics={"components": [each._asdict() for each in components], "of": "worst"},
    )


def _mean(components: Sequence[Component]) -> Estimate:
    """The mean over shapes. They share the smallest shape's optimum: errors add up as if wholly correlated."""
    ends = np.mean([(each.estimate + each.se) ** 2 - each.value for each in components])
    return Estimate(float(np.mean([each.value for each in components])), float(ends), components[0].dof)


ESTIMATORS.register("regret")(
    per_group(
        "Relative loss of using the smallest shape's optimal learning rate on larger shapes",
        regret,
        VARIANTS,
        min_points=2,
        parameters=("regret",),
        attainable={"regret": (0.0, float("inf"))},
        needs=("seed", MEMBER),
        options=WindowOptions,
        make_optima=True,
        source="Delta method for the square root; every shape: intersection–union test (Berger 1982), refuted by "
        "Bonferroni's bound",
        assumes="ln loss is quadratic in log2 lr inside the window; with one seed, curves of other seeds would lie "
        "sideways no further than optima scatter around a line over ln x",
        fails="Noise in either optimum makes the regret larger, against the claim; below four shapes one seed does not "
        "show how far its curve lies sideways; it says nothing of shapes beyond the largest",
    )
)
