"""IsoFLOP envelope: the best size at each compute budget, and how it grows with compute (approach 2 of Chinchilla)."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Counts, Fitted
from muster.fitting.estimators.lr_transfer import LN2, WindowOptions, shapes_note
from muster.fitting.frames import absent_runs, levels, positive_axis, require_columns, seed_matrix
from muster.fitting.optimum.leaning import drift_of_lean, leaned_line, leaning_note, leans_of, take_in
from muster.fitting.optimum.quadratic import Sweep, find_parabolas
from muster.fitting.per_group import per_group
from muster.fitting.usable import usable_rows
from muster.statistics.linear import SLOPE_VARIANTS, Estimate, slope_note, slopes


class IsoflopOptions(WindowOptions):
    """Options of `isoflop`."""

    size: str = Field("parameters", description="Column whose best value is sought at each budget")
    budgets: list[float] | None = Field(
        None,
        min_length=1,
        description="Budgets to which each size's loss is interpolated, for tables whose runs share none; absent: the "
        "values of `along`",
    )
    response_scale: Literal["log", "linear"] = Field(
        "log", description="What the parabola is of: ln of the response, or the response itself"
    )
    best_over: list[str] = Field(
        default_factory=list, description="Columns (learning rate, ...) whose best run is taken per size and budget"
    )


def best_runs(rows: pd.DataFrame, unit: Sequence[str], response: str) -> pd.DataFrame:
    """The row with the lowest response of each unit."""
    rows = rows.reset_index(drop=True)
    return rows.loc[rows.groupby(list(unit))[response].idxmin()]


def at_budgets(rows: pd.DataFrame, along: str, size: str, response: str, budgets: Sequence[float]) -> pd.DataFrame:
    """Each seed's and size's response at the given budgets, ln response linear in ln budget between two runs.

    Columns seed, size, along, response. Nothing is extrapolated: a budget outside a size's runs has no row for it.
    """
    wanted = np.sort(np.asarray(budgets, float))
    parts = []
    for (seed, value), runs in rows.groupby(["seed", size]):
        runs = runs.sort_values(along)
        inside = wanted[(wanted >= runs[along].iloc[0]) & (wanted <= runs[along].iloc[-1])]
        logs = np.interp(np.log(inside), np.log(runs[along].to_numpy()), np.log(runs[response].to_numpy()))
        parts.append(pd.DataFrame({"seed": seed, size: value, along: inside, response: np.exp(logs)}))
    return pd.concat(parts, ignore_index=True)


def _lost(
    rows: pd.DataFrame, used: pd.DataFrame, along: str, budget: float, matrix: pd.DataFrame, size: str
) -> NDArray[np.bool_]:
    """Which seeds and sizes [S, K] of a budget's matrix have runs there of which none can be used."""
    tried = rows[(rows[along] == budget) & ~rows.index.isin(used.index)]
    seeds = tried["seed"] if "seed" in tried.columns else pd.Series(0, tried.index)
    pairs = set(zip(seeds, tried[size], strict=True))
    sizes = matrix.columns.get_level_values(0)
    return np.array([[(seed, value) in pairs for value in sizes] for seed in matrix.index]).reshape(matrix.shape)


def isoflop(rows: pd.DataFrame, fit: FitConfig, options: IsoflopOptions) -> Iterator[Fitted]:
    """Exponent d ln N* / d ln C of the size N* with the lowest loss at compute C, `along` being C.

    At each budget a parabola of ln loss, or of the loss, in log2 N gives N*; a vertex that is a maximum, lies outside
    its window, or belongs to a minimum at the end of the sizes is not an optimum: such budgets are named in the note
    and left out.
    Fewer than three budgets with an optimum give status `too_few`. The intercept is ln N* at C = 1.
    """
    require_columns(rows, options.best_over, "options.best_over")
    unit = ["seed", options.size, fit.along]
    used, lost = usable_rows(rows, positive=[fit.response, fit.along, options.size])
    used = used if "seed" in used.columns else used.assign(seed=0)
    every = used
    if options.best_over:
        used = best_runs(used, unit, fit.response)
    curves = used
    if options.budgets is not None:
        curves = at_budgets(used, fit.along, options.size, fit.response, options.budgets)
    sweeps = []
    for budget, runs in levels(curves, fit.along):
        matrix = seed_matrix(runs, fit.response, [options.size])
        sizes = matrix.columns.get_level_values(0).to_numpy(float)
        absent = absent_runs(runs, matrix, [options.size]) & ~_lost(
            rows, every, fit.along, budget, matrix, options.size
        )
        heights = matrix.to_numpy(float)
        log = options.response_scale == "log"
        sweeps.append(Sweep(budget, np.log2(sizes), np.log(heights) if log else heights, absent))
    found = find_parabolas(sweeps, options.window, options.min_side, options.octaves)
    interior = [optimum for optimum in found if optimum.status == "interior"]
    x = np.array([optimum.x for optimum in interior])
    y = np.array([optimum.log2_lr for optimum in interior]) * LN2
    se = np.array([optimum.se for optimum in interior]) * LN2
    notes = [shapes_note(found, fit.along), lost]
    estimates: dict[str, Estimate] = {}
    status = "too_few"
    if len(x) < 3:
        notes.insert(0, f"{len(x)} of {len(found)} budgets have an interior optimum, 3 are needed")
    else:
        log_x = positive_axis(x, fit.along)
        lean = drift_of_lean(log_x, *(each * LN2 for each in leans_of(interior)))
        leaned = leaned_line(log_x, y, lean)
        estimates = {variant: take_in(line, leaned) for variant, line in slopes(log_x, y, se).items()}
        status = "ok"
        notes = [slope_note(log_x, y), *notes, leaning_note(lean)]
    optima = [
        {fit.along: it.x, "status": it.status, f"log2_{options.size}": it.log2_lr, f"se_log2_{options.size}": it.se}
        for it in found
    ]
    yield Fitted(
        estimates,
        status=status,
        note=", ".join(filter(None, notes)),
        counts=Counts(len(x), len(used)),
        x=x,
        diagnostics={"cells": optima},
    )


ESTIMATORS.register("isoflop")(
    per_group(
        "Exponent of the compute-optimal size: d ln N* / d ln C, from a parabola per compute budget",
        isoflop,
        SLOPE_VARIANTS,
        min_points=3,
        source="Hoffmann et al. 2022, Section 3.2 (approach 2); Fieller 1954",
        assumes="At each budget ln loss is a parabola in ln N near its minimum; sizes lie alike around every optimum",
        fails="The true valley is lopsided (α ≠ β): a grid of sizes that drifts away from the optimum as compute grows "
        "shifts the vertices and tilts the exponent, unseen below seven sizes a budget; interpolated "
        "budgets share runs, so they are not independent",
        needs=(),
        options=IsoflopOptions,
    )
)
