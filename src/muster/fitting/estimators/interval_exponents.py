"""Exponents of a quantity of which every run tells only two bounds, such as a learning rate located by bisection."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    NoOptions,
    fit_rows,
    group_key,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.estimators.regression import judge_design
from muster.fitting.frames import count, groups, levels, natural_log, require_columns
from muster.statistics.censored import interval_plane
from muster.statistics.linear import Estimate, meta_regression

Array = NDArray[np.float64]

VARIANTS = ("interval_censored", "midpoints")
DIFFERENCE = "difference"
LN2 = float(np.log(2))


class IntervalOptions(NoOptions):
    """Options of `interval_exponents`."""

    upper: str = Field(description="Column of the upper bound; the response is the lower one, both log2 of the value")
    variables: list[str] = Field(
        default_factory=list, description="Variables, one exponent each; `along` alone if absent"
    )


def estimates(design: Array, low: Array, high: Array, contrast: Array) -> dict[str, Estimate]:
    """Both variants of contrast · β for ln y between low and high [R] on the design [R, p].

    `interval_censored`: maximum likelihood, NaN where a plane runs through all intervals. `midpoints`: random-effects
    regression of the bounded intervals' midpoints, each with the error of a uniform variable between its bounds.
    """
    found = nothing(VARIANTS)
    plane = interval_plane(design, low, high)
    if plane is not None:
        se = float(np.sqrt(contrast @ plane.cov @ contrast))
        found["interval_censored"] = Estimate(float(contrast @ plane.beta), se, plane.dof, float(plane.beta[0]))
    bounded = np.isfinite(low) & np.isfinite(high)
    inside = design[bounded]
    if len(inside) > design.shape[1] and np.linalg.matrix_rank(inside) == design.shape[1]:
        middle, error = (low[bounded] + high[bounded]) / 2, (high[bounded] - low[bounded]) / np.sqrt(12)
        fit = meta_regression(middle, np.square(error), inside)
        se = float(np.sqrt(contrast @ fit.cov @ contrast))
        found["midpoints"] = Estimate(float(contrast @ fit.beta), se, fit.dof, float(fit.beta[0]))
    return found


def contrasts(on: list[str]) -> dict[str, Array]:
    """Number that is reported → its weights on (intercept, exponent of each variable): `exponent` of one variable, or
    all by name, and the difference of two."""
    slopes = np.eye(len(on) + 1)[1:]
    if len(on) == 1:
        return {"exponent": slopes[0]}
    return dict(zip(on, slopes, strict=True)) | ({DIFFERENCE: slopes[0] - slopes[1]} if len(on) == 2 else {})


def interval_exponents(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Exponents ∂ ln y / ∂ ln x of a quantity y known between 2^response and 2^upper, one run a row; the intercept is
    ln y where all variables are 1.

    With two variables also `difference`, the first exponent minus the second: 0 if y depends on their product alone.
    With one, the optima hold, for each of its values, the mean of the bounded midpoints over runs with its t interval,
    the bracket itself where a value has one run. Errors as `regression` raises them.
    """
    options = parse_options(IntervalOptions, fit)
    require_columns(table, [options.upper], "options.upper")
    on = options.variables or [fit.along]
    if len(set(on)) < len(on):
        raise MusterError("options.variables", f"{', '.join(on)}", "Name each variable once")
    primary = primary_variant(fit, VARIANTS)
    fits: list[dict[str, Any]] = []
    optima: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        design = np.column_stack([np.ones(len(rows)), *(natural_log(rows, name, "options.variables") for name in on)])
        low, high = (rows[name].to_numpy(float) * LN2 for name in (fit.response, options.upper))
        status, note = judge_design(design, on)
        open_ended = int((~np.isfinite(high - low)).sum())
        notes = [note, f"{open_ended} of {len(rows)} runs bounded on one side only" if open_ended else ""]
        for name, contrast in contrasts(on).items():
            fits += fit_rows(
                group,
                estimates(design, low, high, contrast) if status == "ok" else nothing(VARIANTS),
                primary,
                parameter=name,
                status=status,
                note=", ".join(filter(None, notes)),
                counts=count(rows),
                x=rows[fit.along].to_numpy(float),
            )
        if len(on) == 1:
            optima += [_level(group, fit, options, value, own) for value, own in levels(rows, fit.along)]
    return FitResult(pd.DataFrame(fits), pd.DataFrame(optima))


def _level(
    group: dict[str, Any], fit: FitConfig, options: IntervalOptions, value: float, rows: pd.DataFrame
) -> dict[str, Any]:
    """The runs of one value of the axis as a row of optima.parquet, in log2."""
    from scipy.special import stdtrit

    low, high = rows[fit.response].to_numpy(float), rows[options.upper].to_numpy(float)
    bounded = np.isfinite(low) & np.isfinite(high)
    middle, n = (low[bounded] + high[bounded]) / 2, int(bounded.sum())
    centre = float(middle.mean()) if n else np.nan
    # Error of a uniform variable within the brackets, and the scatter of runs where there are several.
    within = float(np.sqrt(np.square(high[bounded] - low[bounded]).sum() / 12) / n) if n else np.nan
    se = max(within, float(middle.std(ddof=1) / np.sqrt(n))) if n > 1 else within
    half = float(stdtrit(n - 1, 0.975)) * se if n > 1 else np.nan
    ends = (centre - half, centre + half) if n > 1 else (float(low.min()), float(high.max()))
    return {
        "group": group_key(group),
        "along": fit.along,
        "x": value,
        "log2_lr_opt": centre,
        "se": se,
        "ci_low": ends[0],
        "ci_high": ends[1],
        "status": "interior" if n else "edge",
        **dict.fromkeys(("loss_at_opt", "basin_low", "basin_high"), np.nan),
        "grid_best": float(np.min(np.where(np.isfinite(low), low, high))),
        "n_points": n,
        "n_runs": len(rows),
    }


ESTIMATORS.register("interval_exponents")(
    Estimator(
        "Exponents of a quantity known between two bounds in one or several variables: ∂ ln y / ∂ ln x",
        interval_exponents,
        VARIANTS,
        min_points=3,
        needs=(),
        options=IntervalOptions,
        more=lambda fit: list(contrasts(fit.options.get("variables") or [fit.along])),
        source="Interval regression: Tobin 1958, Stewart 1983, Olsen 1978; midpoints: Knapp & Hartung 2003",
        assumes="ln y linear in the logarithms with normal scatter of one size; runs are independent",
        fails="Where a plane runs through all intervals, wider than the scatter, the likelihood has no maximum; runs "
        "that share a shape share its deviation from the plane, which makes intervals too short",
    )
)
