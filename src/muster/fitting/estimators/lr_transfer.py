"""Learning-rate transfer: how the optimal learning rate moves along an axis, and how two groups differ in that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    Fitted,
    NoOptions,
    Optima,
    PairOptions,
)
from muster.fitting.frames import absent_runs, count, levels, positive_axis, require_columns, seed_matrix, select
from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.leaning import drift_of_lean, leaned_line, leaning_note, leans_of, take_in
from muster.fitting.optimum.mixed import seed_optima, slope_mixed
from muster.fitting.optimum.quadratic import OCTAVES, Optimum, Sweep, grid_optimum, parabola_optimum
from muster.fitting.per_group import per_group
from muster.statistics.censored import slope_interval_censored
from muster.statistics.linear import SLOPE_VARIANTS, Estimate, slope_note, slopes

MEMBER = "log2_lr"
LN2 = np.log(2)
VARIANTS = (*SLOPE_VARIANTS, "mixed", "interval_censored")

Array = NDArray[np.float64]


class WindowOptions(NoOptions):
    """Options of every estimator that locates optima."""

    window: int = Field(5, ge=4, description="Learning rates around the best one that enter the quadratic")
    octaves: float = Field(
        OCTAVES, gt=0, description="Width of the window where rates are not on a grid; it holds `window` rates at least"
    )
    min_side: int = Field(2, ge=1, description="Finite rates required on each side of the best one, else `edge`")


class TransferOptions(WindowOptions):
    """Options of `lr_transfer`."""

    locate: Literal["quadratic", "parabola", "grid"] = Field(
        "quadratic",
        description="quadratic: weighted, over the window; parabola: through the best rate and its neighbours; grid: "
        "the best rate itself. The last two have no error of their own, for comparison",
    )


class DifferenceOptions(PairOptions, TransferOptions):
    """Options of `lr_transfer_difference`."""


def shape_sweeps(table: pd.DataFrame, fit: FitConfig) -> list[Sweep]:
    """ln loss over the rates for every value of the axis, from the runs of one group."""
    require_columns(table, ["seed", MEMBER, fit.response], "table")
    sweeps = []
    for x, rows in levels(table, fit.along):
        matrix = seed_matrix(rows, fit.response, [MEMBER])
        loss = matrix.to_numpy(float)
        if (loss <= 0).any():
            raise MusterError("response", f"{fit.response} is not positive at {fit.along} {x:g}", "Use a positive loss")
        absent = absent_runs(rows, matrix, [MEMBER])
        sweeps.append(Sweep(x, matrix.columns.get_level_values(0).to_numpy(float), np.log(loss), absent))
    return sweeps


def shape_optima(table: pd.DataFrame, fit: FitConfig, options: WindowOptions) -> list[Optimum]:
    """The optimum of every value of the axis, from the runs of one group."""
    sweeps = shape_sweeps(table, fit)
    if isinstance(options, TransferOptions) and options.locate != "quadratic":
        coarse = {"grid": grid_optimum, "parabola": parabola_optimum}[options.locate]
        return [coarse(sweep, options.window, options.min_side) for sweep in sweeps]
    return find_optima(sweeps, options.window, options.min_side, options.octaves)


def optimum_rows(along: str, optima: Sequence[Optimum], label: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Rows of optima.parquet; label: what tells them apart within their group."""
    return [
        {
            "group": label or {},
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


class Located(NamedTuple):
    """ln lr* of the shapes of one group or, in a comparison, its difference between two groups.

    x, y, se, lean and its error (`Optimum.lean`) [W] and the values of the single seeds, for shapes with an interior
    optimum; bound_x, low, high [C], ±inf where open, for shapes whose best rate lies at an edge of the grid.
    """

    x: Array
    y: Array
    se: Array
    lean: Array
    lean_se: Array
    seeds: list[Array]
    bound_x: Array
    low: Array
    high: Array


def locate(optima: Sequence[Optimum]) -> Located:
    """The optima of one group in ln lr; `diverged` and `flat` shapes bound nothing and are left out."""
    interior = [found for found in optima if found.status == "interior"]
    edge = [found for found in optima if found.status == "edge"]
    lean, lean_se = leans_of(interior)
    return Located(
        np.array([found.x for found in interior]),
        np.array([found.log2_lr for found in interior]) * LN2,
        np.array([found.se for found in interior]) * LN2,
        lean * LN2,
        lean_se * LN2,
        [seed_optima(found) * LN2 for found in interior],
        np.array([found.x for found in edge]),
        np.array([found.ci_low for found in edge]) * LN2,
        np.array([found.ci_high for found in edge]) * LN2,
    )


def subtract(a: Sequence[Optimum], b: Sequence[Optimum]) -> Located:
    """ln lr*_a − ln lr*_b at each x that both have; seeds are paired where both groups have the same number of them."""
    known = {"interior", "edge"}
    pairs = [(one, other) for one in a for other in b if one.x == other.x and {one.status, other.status} <= known]
    both = [pair for pair in pairs if {found.status for found in pair} == {"interior"}]
    bounded = [(one, other) for one, other in pairs if "edge" in (one.status, other.status)]
    ends = [(_bounds(one), _bounds(other)) for one, other in bounded]
    seeds = [(seed_optima(one), seed_optima(other)) for one, other in both]
    (lean, lean_se), (other_lean, other_se) = (leans_of([pair[side] for pair in both]) for side in (0, 1))
    return Located(
        np.array([one.x for one, _ in both]),
        np.array([one.log2_lr - other.log2_lr for one, other in both]) * LN2,
        np.array([np.hypot(one.se, other.se) for one, other in both]) * LN2,
        (lean - other_lean) * LN2,
        np.hypot(lean_se, other_se) * LN2,
        [(one - other) * LN2 if len(one) == len(other) else np.empty(0) for one, other in seeds],
        np.array([one.x for one, _ in bounded]),
        np.array([one[0] - other[1] for one, other in ends]) * LN2,
        np.array([one[1] - other[0] for one, other in ends]) * LN2,
    )


def _bounds(found: Optimum) -> tuple[float, float]:
    """Where an interior or edge optimum is known to lie."""
    return (found.ci_low, found.ci_high) if found.status == "edge" else (found.log2_lr, found.log2_lr)


def transfer_slopes(
    fit: FitConfig, found: Located, rows: pd.DataFrame, notes: Sequence[str], total: int
) -> Iterator[Fitted]:
    """Every variant of the slope of ln lr* on ln x; status `too_few` below three interior optima."""
    used = rows[rows[fit.along].isin(found.x)]
    if len(found.x) < 3:
        few = f"{len(found.x)} of {total} shapes have an interior optimum, 3 are needed"
        note = ", ".join([few, *filter(None, notes)])
        yield Fitted({}, status="too_few", note=note, counts=count(used if len(used) else rows), x=found.x)
        return
    log_x = positive_axis(found.x, fit.along)
    lean = drift_of_lean(log_x, found.lean, found.lean_se)
    leaned = leaned_line(log_x, found.y, lean)
    note = ", ".join(filter(None, [slope_note(log_x, found.y), *notes, leaning_note(lean)]))
    lines = {variant: take_in(line, leaned) for variant, line in slopes(log_x, found.y, found.se).items()}
    yield Fitted(_honest(lines, found), note=note, counts=count(used), x=found.x)
    estimate, why = slope_mixed(log_x, found.seeds)
    seeds = {"mixed": take_in(estimate, leaned)}
    yield Fitted(seeds, note=", ".join(filter(None, [why, note])), counts=count(used), x=found.x)
    x = np.concatenate([found.x, found.bound_x])
    low, high = np.concatenate([found.y, found.low]), np.concatenate([found.y, found.high])
    censored = take_in(slope_interval_censored(positive_axis(x, fit.along), low, high), leaned)
    line = {"interval_censored": censored}
    yield Fitted(_honest(line, found), note=note, counts=count(rows[rows[fit.along].isin(x)]), x=x)


def _honest(lines: dict[str, Estimate], found: Located) -> dict[str, Estimate]:
    """Best rates of a grid often lie exactly on a line: that is rounding to the grid, no precision. Such a fit,
    known by optima without errors, keeps no standard error."""
    if not np.isnan(found.se).any() or any(line.se > 1e-5 for line in lines.values()):
        return lines
    return {variant: line._replace(se=np.nan) for variant, line in lines.items()}


def lr_transfer(rows: pd.DataFrame, fit: FitConfig, options: TransferOptions) -> Iterator[Fitted | Optima]:
    """Exponent d ln lr* / d ln x of the optimal learning rate along an axis.

    lr* = 2^log2_lr; the intercept is ln lr* at x = 1. Optima that are not interior are left out and named in the note;
    fewer than three interior ones give status `too_few`. Variants: a line through the shapes' optima by least squares
    (`ols_t`), with HC3 errors, with random effects (`reml_kh`), or through the seeds' own optima with a random
    intercept per shape (`mixed`); `interval_censored` takes in the shapes at an edge of the grid, as intervals.
    """
    found = shape_optima(rows, fit, options)
    yield from transfer_slopes(fit, locate(found), rows, [shapes_note(found, fit.along)], len(found))
    yield Optima(optimum_rows(fit.along, found))


def lr_transfer_difference(rows: pd.DataFrame, fit: FitConfig, options: DifferenceOptions) -> Iterator[Fitted | Optima]:
    """Difference of two groups' transfer exponents, a − b: slope of ln lr*_a − ln lr*_b, paired over the axis."""
    chosen, found, notes = {}, {}, []
    for side, selection in (("a", options.a), ("b", options.b)):
        chosen[side] = select(rows, selection, f"options.{side}")
        found[side] = shape_optima(chosen[side], fit, options)
        note = shapes_note(found[side], fit.along)
        notes.append(f"{side}: {note}" if note else "")
        label = {name: value if not isinstance(value, list) else str(value) for name, value in selection.items()}
        yield Optima(optimum_rows(fit.along, found[side], label))
    both = pd.concat([chosen["a"], chosen["b"]])
    yield from transfer_slopes(fit, subtract(found["a"], found["b"]), both, notes, rows[fit.along].nunique())


_SOURCE = (
    "HC3: MacKinnon & White 1985; random effects: Viechtbauer 2005, Knapp & Hartung 2003; random intercepts: Laird & "
    "Ware 1982; interval regression: Tobin 1958, Olsen 1978"
)

ESTIMATORS.register("lr_transfer")(
    per_group(
        "Exponent of the optimal learning rate along an axis: d ln lr* / d ln x",
        lr_transfer,
        VARIANTS,
        min_points=3,
        needs=("seed", MEMBER),
        options=TransferOptions,
        make_optima=True,
        source=_SOURCE,
        assumes="ln lr* linear in ln x; scatter between shapes independent and, for `ols_t`, of one size; ln loss "
        "quadratic in log2 lr around its minimum",
        fails="Leaving out shapes at an edge of the grid pulls the slope towards 0 (compare `interval_censored`); a "
        "bent or finite-size trend gives a narrow interval around a slope that depends on the range of x; valleys that "
        "lean more and more along the axis shift the vertices: from seven rates on cubics show it, and the interval "
        "takes in what is likely to be real of it (many shapes without scatter miss the exponent in up to .15, where "
        "the drift is about twice its error); with fewer rates nothing shows it, and the interval misses the exponent",
    )
)
ESTIMATORS.register("lr_transfer_difference")(
    per_group(
        "Difference of two groups' learning-rate exponents (a − b), paired over the axis",
        lr_transfer_difference,
        VARIANTS,
        min_points=3,
        needs=("seed", MEMBER),
        options=DifferenceOptions,
        make_optima=True,
        source=_SOURCE,
        assumes="The differences ln lr*_a − ln lr*_b are linear in ln x with independent scatter; the groups share x",
        fails="Only shapes at which both optima are interior enter: a grid that loses one group at one end biases it",
    )
)
