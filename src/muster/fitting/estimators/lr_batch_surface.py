"""Power laws of the optimal learning rate and batch size, each cell's optimum from one 2-D surface or near its best."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    Counts,
    Estimator,
    FitResult,
    NoOptions,
    fit_rows,
    group_key,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.estimators.lr_transfer import LN2, MEMBER
from muster.fitting.estimators.regression import coefficients, judge_design
from muster.fitting.frames import groups, require_columns, require_unique
from muster.fitting.optimum.quadratic import ROUNDING
from muster.fitting.optimum.surface import SurfaceOptimum, find_surface
from muster.fitting.specification import ALTERNATIVES, Alternative, dropped_ends, other_split, with_option
from muster.fitting.usable import usable_rows
from muster.statistics.linear import Estimate

BATCH = "log2_batch"
# Variant → the rows that are regressed, the variant of `regression` that gives the errors.
VARIANTS = {
    "surface_t": ("surface", "ols_t"),
    "surface_hc3": ("surface", "hc3"),
    "surface_cluster_t": ("surface", "cluster_t"),
    "surface_wild_cluster": ("surface", "wild_cluster"),
    "near_best_cluster_t": ("near_best", "cluster_t"),
    "near_best_wild_cluster": ("near_best", "wild_cluster"),
    "near_best_t": ("near_best", "ols_t"),
    "argmin_t": ("argmin", "ols_t"),
}

Found = Sequence[tuple[dict[str, Any], SurfaceOptimum]]


class SurfaceOptions(NoOptions):
    """Options of `lr_batch_surface`."""

    cells: list[str] = Field(
        default=["parameters", "tokens"],
        min_length=1,
        description="Columns whose combinations were tuned apart; they are the variables of the power laws",
    )
    lr_on: list[str] | None = Field(None, description="Variables of the law of the learning rate; `cells` if absent")
    batch_on: list[str] | None = Field(None, description="Variables of the law of the batch size; `cells` if absent")
    clusters: str | None = Field(
        None, description="Column whose values share errors, for surface_cluster_t; the first of `cells` if absent"
    )
    window: int = Field(5, ge=3, description="Learning rates, and batch sizes, around the best that enter a surface")
    min_side: int = Field(1, ge=1, description="Values required on each side of the best, else `edge`")
    near_best: float = Field(
        0.0025, ge=0, description="near_best_*: rows whose loss is within this share of their cell's lowest"
    )


class Sample(NamedTuple):
    """Rows with the columns of the cells, log2_lr and log2_batch, and the cluster [R] of each row, if any."""

    rows: pd.DataFrame
    clusters: NDArray[np.intp] | None = None


def cell_points(rows: pd.DataFrame, cells: Sequence[str], response: str) -> pd.DataFrame:
    """Mean ln response over seeds, y, at each point: columns `cells`, log2_lr, log2_batch, y."""
    point = [*cells, MEMBER, BATCH]
    require_unique(rows, [*point, "seed"] if "seed" in rows.columns else point)
    return rows.assign(y=np.log(rows[response])).groupby(point)[["y"]].mean().reset_index()


def near_best(points: pd.DataFrame, cells: Sequence[str], share: float) -> pd.DataFrame:
    """The points whose loss exceeds the lowest of their cell by at most `share` of it."""
    lowest = points.groupby(list(cells))["y"].transform("min")
    return points[points["y"] <= lowest + np.log1p(share) + ROUNDING]


def find_surfaces(points: pd.DataFrame, options: SurfaceOptions) -> Found:
    """Every cell with its optimum."""
    found = []
    for cell, rows in groups(points, options.cells):
        log2_lr, log2_batch, log_loss = rows[[MEMBER, BATCH, "y"]].to_numpy(float).T
        found.append((cell, find_surface(log2_lr, log2_batch, log_loss, options.window, options.min_side)))
    return found


def samples(points: pd.DataFrame, found: Found, options: SurfaceOptions) -> dict[str, Sample]:
    """What is regressed: vertices of interior surfaces, rows near the best, the best row of each cell.

    Rows near the best of one cell share its noise and its grid: the cell is their cluster.
    """
    vertices = pd.DataFrame(
        [{**cell, MEMBER: it.vertex[0], BATCH: it.vertex[1]} for cell, it in found if it.status == "interior"],
        columns=[*options.cells, MEMBER, BATCH],
    )
    near = near_best(points, options.cells, options.near_best)
    best = points.loc[points.groupby(options.cells)["y"].idxmin()]

    def number(rows: pd.DataFrame, columns: list[str]) -> NDArray[np.intp]:
        return pd.factorize(rows.groupby(columns).ngroup())[0]

    return {
        "surface": Sample(vertices, number(vertices, [options.clusters or options.cells[0]])),
        "near_best": Sample(near, number(near, options.cells)),
        "argmin": Sample(best),
    }


def exponents(sample: Sample, column: str, on: list[str]) -> tuple[str, dict[str, dict[str, Estimate]]]:
    """Status, and every variant of the slope of ln 2^column on each ln `on`. too_few: no degree of freedom is left
    between the cells; collinear: the cells do not tell the variables apart."""
    design = np.column_stack([np.ones(len(sample.rows)), np.log(sample.rows[on].to_numpy(float))])
    if len(np.unique(design, axis=0)) <= len(on) + 1:
        return "too_few", {}
    status, _ = judge_design(design, on)
    if status != "ok":
        return status, {}
    return status, coefficients(sample.rows[column].to_numpy(float) * LN2, design, sample.clusters, on)


def cells_note(found: Found) -> str:
    """How many cells have an interior optimum, and what is wrong with the others."""
    parts = [f"{sum(it.status == 'interior' for _, it in found)} of {len(found)} cells interior"]
    for cell, it in found:
        if it.status != "interior":
            parts.append(f"{it.status} at {' '.join(f'{name} {value}' for name, value in cell.items())}")
    return ", ".join(parts)


def optimum_rows(group: Mapping[str, Any], along: str, found: Found) -> list[dict[str, Any]]:
    """Rows of optima.parquet for the learning rate, the batch size being at its optimum; a row's group names its
    cell."""
    return [
        {
            "group": group_key({**group, **{name: value for name, value in cell.items() if name != along}}),
            "along": along,
            "x": cell[along],
            "log2_lr_opt": it.vertex[0],
            "se": it.se[0],
            "ci_low": it.ci[0][0],
            "ci_high": it.ci[0][1],
            "status": it.status,
            "loss_at_opt": it.loss,
            "basin_low": it.basin[0],
            "basin_high": it.basin[1],
            "grid_best": it.best[0],
            "n_points": it.n_points,
            "n_runs": it.n_points,
        }
        for cell, it in found
    ]


def lr_batch_surface(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Exponents of the optimal learning rate (`lr_<variable>`) and batch size (`batch_<variable>`) in the variables of
    the cells, such as model size and data.

    lr* ∝ Π x^exponent, fitted over cells in logarithms; the intercept is ln lr* (ln batch*) where all variables are 1.
    diagnostics: every cell with its status and log2 optimum. Raises a MusterError for missing columns, runs that occur
    twice, responses ≤ 0, or an `along` that is no column of `cells`.
    """
    options = parse_options(SurfaceOptions, fit)
    laws = {MEMBER: options.lr_on or options.cells, BATCH: options.batch_on or options.cells}
    for field, columns in (("lr_on", laws[MEMBER]), ("batch_on", laws[BATCH]), ("clusters", [options.clusters])):
        for column in columns:
            if column not in (None, *options.cells):
                raise MusterError(f"options.{field}", f"{column!r} tells no cells apart", "Name it in `cells` too")
    if fit.along not in options.cells:
        raise MusterError("along", f"{fit.along!r} is not in `cells`", f"Choose from {', '.join(options.cells)}")
    require_columns(table, [MEMBER, BATCH, *options.cells], "table")
    primary = primary_variant(fit, tuple(VARIANTS))
    fits: list[dict[str, Any]] = []
    optima: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        used, lost = usable_rows(rows, [MEMBER, BATCH], [fit.response, *options.cells])
        points = cell_points(used, options.cells, fit.response)
        found = find_surfaces(points, options)
        data = samples(points, found, options)
        note = ", ".join(filter(None, [cells_note(found), lost]))
        cells = [
            {**cell, "status": it.status, MEMBER: it.vertex[0], BATCH: it.vertex[1]}
            | {f"se_{name}": error for name, error in zip((MEMBER, BATCH), it.se, strict=True)}
            for cell, it in found
        ]
        for column, on in laws.items():
            by_sample = {name: exponents(sample, column, on) for name, sample in data.items()}
            for variable in on:
                for variant, (name, errors) in VARIANTS.items():
                    status, estimates = by_sample[name]
                    chosen = data[name].rows
                    fits += fit_rows(
                        group,
                        {variant: estimates[variable][errors]} if status == "ok" else nothing([variant]),
                        primary,
                        parameter=f"{'lr' if column == MEMBER else 'batch'}_{variable}",
                        status=status,
                        note=note,
                        counts=Counts(len(chosen[options.cells].drop_duplicates()), len(used)),
                        x=chosen[variable].to_numpy(float),
                        diagnostics={"cells": cells, "rows": len(chosen)},
                    )
        optima += optimum_rows(group, fit.along, found)
    return FitResult(pd.DataFrame(fits), pd.DataFrame(optima))


ESTIMATORS.register("lr_batch_surface")(
    Estimator(
        "Exponents of the optimal learning rate and batch size in model size and data, from 2-D surfaces per cell",
        lr_batch_surface,
        tuple(VARIANTS),
        min_points=3,
        parameters=("lr_parameters", "lr_tokens", "batch_parameters", "batch_tokens"),
        source="Box & Wilson 1951 (quadratic response surface), Fieller 1954; near_best: the recipe of Li et al. 2025, "
        "Predictable Scale I, code/fit_tool.py; errors as in `regression`",
        assumes="ln loss is quadratic in log2 rate and log2 batch within the window; cells scatter independently "
        "around the laws; near_best: rows near the best lie evenly around the optimum",
        fails="Grid ends that cut the basin pull near_best towards the middle of the grid, and a basin that widens or "
        "leans more with one variable tilts its exponent; the argmin of a flat, noisy basin wanders; few clusters make "
        "cluster_t too short",
        needs=(MEMBER, BATCH),
        options=SurfaceOptions,
        make_optima=True,
        more=lambda fit: [f"{rate}_{name}" for rate in ("lr", "batch") for name in fit.options.get("cells", [])],
    )
)


@ALTERNATIVES.register("lr_batch_surface")
def surface_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """Other windows, other shares of rows near the best, a stricter rule for edges, the other split, fewer values."""
    for window in (3, 5, 7, 9):
        yield with_option(fit, "window", f"{window} × {window} points", window=window)
    for share in (0.001, 0.0025, 0.005, 0.01):
        yield with_option(fit, "near_best", f"rows within {share:.2%} of the best", near_best=share)
    for side in (1, 2):
        yield with_option(fit, "edge", f"{side} value(s) beside the best", min_side=side)
    yield from other_split(fit, table)
    yield from dropped_ends(fit, table)
