"""Learning-rate sensitivity: what a learning rate chosen blindly costs, compared between two groups of runs."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, PairOptions
from muster.fitting.estimators.lr_transfer import MEMBER
from muster.fitting.frames import absent_runs, count, levels, require_columns, seed_matrix, select
from muster.fitting.per_group import per_group
from muster.statistics.linear import mean_t

VARIANTS = ("cluster_t", "pairwise_t")


class SensitivityOptions(PairOptions):
    """Options of `lr_sensitivity`."""

    initial: float = Field(
        math.log(256), gt=0, description="Loss at initialization; ln K for K classes and a zero readout, here K = 256"
    )


def sensitivity(losses: NDArray[np.float64], initial: float) -> NDArray[np.float64]:
    """E_η[min(L(η), L₀)] − min_η L(η) per row of losses [seeds, rates]; a run without a loss counts as L₀.

    The mean is over the grid, which stands for a log-uniform choice (Wortsman et al. 2023, Section 2.2).
    """
    held = np.fmin(losses, initial)
    return held.mean(axis=1) - held.min(axis=1)


def _by_shape(rows: pd.DataFrame, fit: FitConfig, initial: float) -> tuple[pd.DataFrame, set[tuple[float, ...]]]:
    """Sensitivity by seed (rows) and value of the axis (columns), and the grids of rates that it was taken over."""
    columns, grids = {}, set()
    for x, level in levels(rows, fit.along):
        matrix = seed_matrix(level, fit.response, [MEMBER])
        grids.add(tuple(matrix.columns.get_level_values(0).to_numpy(float)))
        # A seed that was not run at all rates has no mean over the grid: missing is not diverged.
        whole = np.flatnonzero(~absent_runs(level, matrix, [MEMBER]).any(axis=1))
        columns[x] = pd.Series(sensitivity(matrix.to_numpy(float)[whole], initial), index=matrix.index[whole])
    return pd.DataFrame(columns), grids


def lr_sensitivity(rows: pd.DataFrame, fit: FitConfig, options: SensitivityOptions) -> Iterator[Fitted]:
    """Mean difference of the learning-rate sensitivities of two groups, a − b in units of the response, paired over the
    axis and seeds: negative means that a loses less by a badly chosen rate.

    Variants: `cluster_t`, the mean over seeds at each x, then t over x; `pairwise_t`, all pairs as independent. Raises
    MusterError where runs of one group of the fit have different grids of rates: their means would not compare.
    """
    require_columns(rows, ["seed", MEMBER, fit.response], "response")
    sides = [select(rows, side, f"options.{name}") for name, side in (("a", options.a), ("b", options.b))]
    (first, grids_a), (second, grids_b) = (_by_shape(side, fit, options.initial) for side in sides)
    if len(grids_a | grids_b) > 1:
        remedy = "Give every shape and both groups the same rates"
        raise MusterError("log2_lr", f"{len(grids_a | grids_b)} grids of rates", remedy)
    difference = first - second
    pairs = difference.to_numpy(float)
    pairs = pairs[np.isfinite(pairs)]
    usable = difference.dropna(axis=1, how="all")
    note = f"mean sensitivity {first.mean().mean():.3g} against {second.mean().mean():.3g}"
    counts = count(pd.concat(sides))
    if usable.shape[1] < 2:
        few = f"{note}, 2 values of {fit.along} are needed"
        yield Fitted({}, status="too_few", note=few, counts=counts)
        return
    estimates = {"cluster_t": mean_t(usable.mean()), "pairwise_t": mean_t(pairs)}
    yield Fitted(estimates, note=note, counts=counts, x=usable.columns.to_numpy(float))


ESTIMATORS.register("lr_sensitivity")(
    per_group(
        "Difference of two groups' mean loss above the best over a grid of learning rates (negative: a is steadier)",
        lr_sensitivity,
        VARIANTS,
        min_points=2,
        parameters=("difference",),
        needs=("seed", MEMBER),
        options=SensitivityOptions,
        source="Wortsman et al. 2023, Section 2.2; paired t over the values of the axis (Student 1908)",
        assumes="One grid of rates for both groups that holds their optima; one mean difference at all values of the "
        "axis",
        fails="The number depends on the range of the grid; runs that end above the initial loss or diverge all count "
        "as the initial loss",
    )
)
