"""Regret: what it costs to use the smallest shape's optimal learning rate on a larger shape."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

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
from muster.fitting.optimum.cost import (
    OutsideGrid,
    cost_of_rate,
    rate_and_error,
    sideways_error,
)
from muster.fitting.optimum.quadratic import Optimum
from muster.fitting.per_group import per_group
from muster.statistics.components import Component, largest
from muster.statistics.linear import Estimate

VARIANTS = ("worst", "mean")


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
    scatter, dof = sideways_error(found)
    components = []
    try:
        for optimum in larger:
            components.append(cost_of_rate(rate_and_error(small), optimum, sweeps[optimum.x], scatter, dof))
    except OutsideGrid:
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
