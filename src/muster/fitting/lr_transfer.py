"""Learning-rate transfer: how the optimal learning rate moves along an axis, and how two groups differ in that."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    NoOptions,
    PairOptions,
    fit_rows,
    group_key,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import count, groups, levels, positive_axis, require_columns, seed_matrix, select
from muster.fitting.linear import SLOPE_VARIANTS, slope_note, slopes
from muster.fitting.optimum import Optimum, Sweep, find_optima

MEMBER = "log2_lr"
LN2 = np.log(2)


class WindowOptions(NoOptions):
    """Options of every estimator that locates optima."""

    window: int = Field(5, ge=4, description="Learning rates around the best one that enter the quadratic")
    min_side: int = Field(2, ge=1, description="Finite rates required on each side of the best one, else `edge`")


class DifferenceOptions(PairOptions, WindowOptions):
    """Options of `lr_transfer_difference`."""


def shape_optima(table: pd.DataFrame, fit: FitConfig, options: WindowOptions) -> list[Optimum]:
    """The optimum of every value of the axis, from the runs of one group."""
    require_columns(table, ["seed", MEMBER, fit.response], "table")
    sweeps = []
    for x, rows in levels(table, fit.along):
        matrix = seed_matrix(rows, fit.response, [MEMBER])
        loss = matrix.to_numpy(float)
        if (loss <= 0).any():
            raise MusterError("response", f"{fit.response} is not positive at {fit.along} {x:g}", "Use a positive loss")
        sweeps.append(Sweep(x, matrix.columns.get_level_values(0).to_numpy(float), np.log(loss)))
    return find_optima(sweeps, options.window, options.min_side)


def optimum_rows(group: dict[str, Any], along: str, optima: Sequence[Optimum]) -> list[dict[str, Any]]:
    """Rows of optima.parquet."""
    return [
        {
            "group": group_key(group),
            "along": along,
            "x": found.x,
            "log2_lr_opt": found.log2_lr,
            "se": found.se,
            "ci_low": found.ci_low,
            "ci_high": found.ci_high,
            "status": found.status,
            "loss_at_opt": found.loss,
            "basin_low": found.basin_low,
            "basin_high": found.basin_high,
            "grid_best": found.grid_best,
            "n_points": found.n_points,
            "n_runs": found.n_runs,
        }
        for found in optima
    ]


def shapes_note(optima: Sequence[Optimum], along: str) -> str:
    """Which shapes were left out and which basins are lopsided, in one clause."""
    parts = []
    for status in ("edge", "diverged", "flat"):
        at = [f"{found.x:g}" for found in optima if found.status == status]
        if at:
            parts.append(f"{status} at {along} {' '.join(at)}")
    lopsided = [f"{found.x:g}" for found in optima if found.asymmetric]
    if lopsided:
        parts.append(f"asymmetric basin at {along} {' '.join(lopsided)}")
    return ", ".join(parts)


def _slope_rows(
    group: dict[str, Any],
    fit: FitConfig,
    x: np.ndarray,
    y: np.ndarray,
    se: np.ndarray,
    rows: pd.DataFrame,
    notes: Sequence[str],
    total: int,
) -> list[dict[str, Any]]:
    """Rows of every slope variant of y = ln(lr) on ln x, or of status `too_few` below three shapes."""
    primary = primary_variant(fit, SLOPE_VARIANTS)
    if len(x) < 3:
        note = ", ".join([f"{len(x)} of {total} shapes have an interior optimum, 3 are needed", *filter(None, notes)])
        return fit_rows(group, nothing(SLOPE_VARIANTS), primary, status="too_few", note=note, counts=count(rows), x=x)
    log_x = positive_axis(x, fit.along)
    note = ", ".join(filter(None, [slope_note(log_x, y), *notes]))
    return fit_rows(group, slopes(log_x, y, se), primary, note=note, counts=count(rows), x=x)


def lr_transfer(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Exponent d ln lr* / d ln x of the optimal learning rate along an axis.

    Optima that are not interior are left out and named in the note; fewer than three give status `too_few`. lr* =
    2^log2_lr; the intercept is ln lr* at x = 1.
    """
    options = parse_options(WindowOptions, fit)
    fits: list[dict[str, Any]] = []
    optima: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        found = shape_optima(rows, fit, options)
        interior = [optimum for optimum in found if optimum.status == "interior"]
        x = np.array([optimum.x for optimum in interior])
        y = np.array([optimum.log2_lr for optimum in interior]) * LN2
        se = np.array([optimum.se for optimum in interior]) * LN2
        used = rows[rows[fit.along].isin(x)] if len(interior) else rows
        fits += _slope_rows(group, fit, x, y, se, used, [shapes_note(found, fit.along)], len(found))
        optima += optimum_rows(group, fit.along, found)
    return FitResult(pd.DataFrame(fits), pd.DataFrame(optima))


def lr_transfer_difference(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Difference of two groups' transfer exponents, a − b: slope of ln lr*_a − ln lr*_b, paired over the axis."""
    options = parse_options(DifferenceOptions, fit)
    fits: list[dict[str, Any]] = []
    optima: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        sides = {}
        notes = []
        for side, selection in (("a", options.a), ("b", options.b)):
            chosen = select(rows, selection, f"options.{side}")
            found = shape_optima(chosen, fit, options)
            sides[side] = (chosen, {optimum.x: optimum for optimum in found if optimum.status == "interior"})
            note = shapes_note(found, fit.along)
            notes.append(f"{side}: {note}" if note else "")
            label = {name: value if not isinstance(value, list) else str(value) for name, value in selection.items()}
            optima += optimum_rows({**group, **label}, fit.along, found)
        (rows_a, a), (rows_b, b) = sides["a"], sides["b"]
        x = np.array([value for value in a if value in b])
        y = np.array([a[value].log2_lr - b[value].log2_lr for value in x]) * LN2
        se = np.array([np.hypot(a[value].se, b[value].se) for value in x]) * LN2
        used = pd.concat([rows_a, rows_b])
        used = used[used[fit.along].isin(x)] if len(x) else used
        fits += _slope_rows(group, fit, x, y, se, used, notes, rows[fit.along].nunique())
    return FitResult(pd.DataFrame(fits), pd.DataFrame(optima))


ESTIMATORS.register("lr_transfer")(
    Estimator(
        "Exponent of the optimal learning rate along an axis: d ln lr* / d ln x",
        lr_transfer,
        SLOPE_VARIANTS,
        min_points=3,
        needs=("seed", MEMBER),
        options=WindowOptions,
        make_optima=True,
    )
)
ESTIMATORS.register("lr_transfer_difference")(
    Estimator(
        "Difference of two groups' learning-rate exponents (a − b), paired over the axis",
        lr_transfer_difference,
        SLOPE_VARIANTS,
        min_points=3,
        needs=("seed", MEMBER),
        options=DifferenceOptions,
        make_optima=True,
    )
)
