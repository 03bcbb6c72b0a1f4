"""Regret: what it costs to use the smallest shape's optimal learning rate on a larger shape."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, Optima, no_estimates
from muster.fitting.estimators.lr_transfer import MEMBER, WindowOptions, optimum_rows, shape_optima, shapes_note
from muster.fitting.estimators.monotone import worst_of
from muster.fitting.estimators.power_law import jackknife_se
from muster.fitting.frames import levels, seed_matrix
from muster.fitting.optimum.quadratic import Optimum
from muster.fitting.per_group import per_group
from muster.statistics.linear import Estimate

VARIANTS = ("worst", "mean")

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Seeds = NDArray[np.intp]


class _Outside(Exception):
    """The transferred rate lies where the larger shape has no finite loss."""


def _log_loss_at(optimum: Optimum, rates: Vector, log_loss: Matrix, rate: float, seeds: Seeds) -> float:
    """ln loss at a rate: on the quadratic inside its window, else by Akima interpolation between finite rates."""
    from scipy import interpolate

    offset = rate - optimum.grid_best
    if optimum.window is not None and optimum.window.offset[0] <= offset <= optimum.window.offset[-1]:
        return optimum.refit(seeds).at(offset)
    finite = np.asarray(np.isfinite(log_loss).all(axis=0))
    right = int(np.searchsorted(rates, rate))
    if not (0 < right < len(rates) and finite[right - 1] and finite[right]):
        raise _Outside
    curve = interpolate.Akima1DInterpolator(rates[finite], log_loss[seeds][:, finite].mean(axis=0), method="makima")
    return float(curve(rate))


def _regret(small: Optimum, other: Optimum, rates: Vector, log_loss: Matrix, seeds: Seeds) -> float:
    """ln(loss at the small shape's rate / loss at its own) of the other shape, from some of the seeds (row numbers);
    NaN when those seeds alone show no minimum."""
    source, target = small.refit(seeds), other.refit(seeds)
    if min(source.beta[2], target.beta[2]) <= 0:
        return np.nan
    rate = small.grid_best + source.vertex()
    return _log_loss_at(other, rates, log_loss, rate, seeds) - target.at(target.vertex())


def regret(rows: pd.DataFrame, fit: FitConfig, options: WindowOptions) -> Iterator[Fitted | Optima]:
    """Relative loss, ln(loss at the transferred rate / loss at the own optimum), of using the smallest shape's optimal
    learning rate on each larger shape.

    Both losses are read from the larger shape's fitted quadratic, or by interpolation between its rates when the
    transferred rate lies outside the window. Standard errors leave out one seed at a time, through both optima, with
    t(S−1). The regret grows with the square of an error in either optimum: noise makes it larger, against the claim.
    Variants: `worst`, the larger shape with the highest upper limit (the claim is about every shape); `mean` over
    shapes. A transferred rate that diverges, or falls off the grid, gives status `diverged`.
    """
    found = shape_optima(rows, fit, options)
    yield Optima(optimum_rows(fit.along, found))
    x = [optimum.x for optimum in found]
    status, note, estimates = _compare(rows, fit, found)
    yield Fitted(estimates, status=status, note=note, x=x)


def _compare(rows: pd.DataFrame, fit: FitConfig, found: list[Optimum]) -> tuple[str, str, dict[str, Estimate]]:
    """Status, note and the estimates of every variant for one group."""
    none = no_estimates(VARIANTS)
    if len(found) < 2:
        return "too_few", f"{len(found)} values of {fit.along}, 2 are needed", none
    if any(optimum.status != "interior" for optimum in found):
        first = next(optimum.status for optimum in found if optimum.status != "interior")
        return first, f"every shape needs an interior optimum: {shapes_note(found, fit.along)}", none
    small, larger = found[0], found[1:]
    matrices = {value: seed_matrix(level, fit.response, [MEMBER]) for value, level in levels(rows, fit.along)}
    seeds = [set(matrix.index) for matrix in matrices.values()]
    if any(other != seeds[0] for other in seeds):
        return "unpaired", f"the values of {fit.along} have different seeds", none
    replicates = np.arange(len(seeds[0]))[:, None]

    def one(optimum: Optimum, chosen: Seeds) -> float:
        matrix = matrices[optimum.x]
        rates = matrix.columns.get_level_values(0).to_numpy(float)
        return _regret(small, optimum, rates, np.log(matrix.to_numpy(float)), chosen.ravel())

    def average(chosen: Seeds) -> float:
        return float(np.mean([one(optimum, chosen) for optimum in larger]))

    dof = len(replicates) - 1
    try:
        each = [
            Estimate(one(optimum, replicates), jackknife_se(replicates, partial(one, optimum)), dof)
            for optimum in larger
        ]
        mean = Estimate(average(replicates), jackknife_se(replicates, average), dof)
    except _Outside:
        note = f"the rate of {fit.along} {small.x:g} diverges, or is off the grid, at a larger {fit.along}"
        return "diverged", note, none
    worst = worst_of(each)
    at = larger[each.index(worst)].x
    return "ok", f"worst at {fit.along} {at:g}, rate from {fit.along} {small.x:g}", {"worst": worst, "mean": mean}


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
        source="Leave-one-out jackknife over seeds (Tukey 1958; Efron & Stein 1981); worst shape: Berger 1982",
        assumes="Seeds are independent replicates; ln loss is quadratic in log2 lr inside the window",
        fails="The regret is a square: noise in either optimum makes it larger, against the claim; few seeds give t "
        "with few degrees of freedom; it says nothing of shapes beyond the largest",
    )
)
