"""Where success sets in: the location of a threshold by logistic regression, and how it moves along an axis."""

from dataclasses import dataclass
from typing import Any, Literal

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
from muster.fitting.frames import MEMBER_PREFIX, count, groups, levels, natural_log, positive_axis
from muster.fitting.optimum.quadratic import fieller, vertex_se
from muster.fitting.usable import as_numbers
from muster.statistics.linear import SLOPE_VARIANTS, Estimate, slope_note, slopes

Array = NDArray[np.float64]

TREND_CHI2 = 3.841459  # 95 % point of χ²(1)
NORMAL_975 = 1.959964
LN2 = float(np.log(2))


class ThresholdOptions(NoOptions):
    """Options of `threshold`."""

    scale: Literal["log", "linear"] = Field(
        "log", description="log: success depends on the logarithm of the variable; log2_… holds it already"
    )
    success_above: float | None = Field(None, description="A run succeeded when the response exceeds this value")
    success_below: float | None = Field(None, description="A run succeeded when the response is below this value")


class ThresholdExponentOptions(ThresholdOptions):
    """Options of `threshold_exponent`."""

    over: str = Field(description="Column of the variable whose threshold is located at each value of `along`")


@dataclass(frozen=True)
class Threshold:
    """Where the probability of success is one half, on the scale of the regression.

    status: interior; separated (success and failure do not overlap: `ci` is the gap between them, `location` its
    middle, `se` that of a uniform variable in it); one_sided (all runs succeed, or all fail); flat (no trend by the
    likelihood ratio at 5 %).
    """

    status: str
    location: float = np.nan
    se: float = np.nan
    ci: tuple[float, float] = (np.nan, np.nan)


def find_threshold(x: Array, success: Array) -> Threshold:
    """The x at which P(success) = 1/2 in the model logit P = β₀ + β₁x, from x [R] and success [R] (0 or 1).

    The location −β₀/β₁ is a ratio of normals: Fieller's (1954) interval, delta-method error. Without overlap of
    successes and failures the likelihood has no maximum (Albert & Anderson 1984).
    """
    import statsmodels.api as sm

    yes, no = x[success > 0], x[success == 0]
    if not len(yes) or not len(no):
        return Threshold("one_sided")
    for low, high in ((no.max(), yes.min()), (yes.max(), no.min())):
        if low <= high:
            low, high = float(low), float(high)
            return Threshold("separated", (low + high) / 2, (high - low) / float(np.sqrt(12)), (low, high))
    centre, spread = x.mean(), x.std()
    z = (x - centre) / spread
    fit = sm.GLM(success, sm.add_constant(z), family=sm.families.Binomial()).fit()
    beta, cov = np.asarray(fit.params), np.asarray(fit.cov_params())
    # Wald's z shrinks again as the threshold sharpens (Hauck & Donner 1977); the likelihood ratio does not.
    if fit.null_deviance - fit.deviance <= TREND_CHI2:
        return Threshold("flat")
    # The zero of b₀ + b₁z is the vertex of a parabola with coefficients (b₀, b₁/2).
    to_vertex = np.array([[0, 0], [1, 0], [0, 0.5]])
    line, line_cov = to_vertex @ beta, to_vertex @ cov @ to_vertex.T
    low, high = fieller(line, line_cov, NORMAL_975)
    return Threshold(
        "interior",
        float(centre - spread * beta[0] / beta[1]),
        float(spread * vertex_se(line, line_cov)),
        (float(centre + spread * low), float(centre + spread * high)),
    )


def successes(rows: pd.DataFrame, fit: FitConfig, options: ThresholdOptions, over: str) -> tuple[Array, Array]:
    """The variable [R], ln of it on a log scale, and success [R] as 0 or 1.

    With a bound on the response a run that diverged or has no finite response did not succeed; without one the response
    must be 0 or 1. Raises a MusterError for two bounds, another response, or a variable ≤ 0 on a log scale.
    """
    bounds = (options.success_above, options.success_below)
    if None not in bounds:
        raise MusterError("options", "success_above and success_below are both given", "Keep one of them")
    tidy = as_numbers(rows, [fit.response, over])
    tidy = tidy[np.isfinite(tidy[over])]
    x = tidy[over].to_numpy(float)
    y = tidy[fit.response].to_numpy(float)
    x = natural_log(tidy, over, "options.over") if options.scale == "log" else x
    if bounds == (None, None):
        if not np.isin(y, (0, 1)).all():
            found = f"{fit.response} takes the value {y[~np.isin(y, (0, 1))][0]:g}"
            raise MusterError("response", found, "Success is 0 or 1: set options.success_above or success_below")
        return x, y
    above, below = bounds
    success = np.isfinite(y) & (y > above if above is not None else y < below)
    if "diverged" in tidy.columns:
        success &= ~tidy["diverged"].astype(bool).to_numpy()
    return x, success.astype(float)


REASONS = {
    "separated": "success and failure do not overlap: the interval is the gap between them",
    "one_sided": "all runs succeed, or all fail",
    "flat": "success does not depend on the variable (likelihood ratio, 5 %)",
}


def threshold(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """The value of `along` at which a run succeeds with probability one half, in the units of `along`.

    Normal errors (delta method) and Fieller's interval. Status `no_se`: success and failure are separated, the interval
    is the gap between them; `not_identified`: no threshold within the runs.
    """
    options = parse_options(ThresholdOptions, fit)
    primary = primary_variant(fit, ("logit",))
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        x, success = successes(rows, fit, options, fit.along)
        found = find_threshold(x, success)
        location, se, ci = found.location, found.se, found.ci
        if options.scale == "log":
            location, ci = float(np.exp(location)), (float(np.exp(ci[0])), float(np.exp(ci[1])))
            se *= location
        status = {"interior": "ok", "separated": "no_se"}.get(found.status, "not_identified")
        fits += fit_rows(
            group,
            {"logit": Estimate(location, se, np.inf, ci=ci)},
            primary,
            status=status,
            note=", ".join(filter(None, [f"{int(success.sum())} of {len(x)} succeed", REASONS.get(found.status)])),
            counts=count(rows),
            x=rows[fit.along].to_numpy(float),
        )
    return FitResult(pd.DataFrame(fits))


def threshold_exponent(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Exponent d ln x* / d ln(along) of the threshold x* of the variable `over`.

    A separated level enters at the middle of its gap, with the error of a uniform variable there; levels without a
    threshold are named in the note and left out. Fewer than three levels give status `too_few`. On a linear scale a
    threshold ≤ 0 has no exponent: a MusterError. Where `over` holds logarithms (log2_lr) the thresholds are returned as
    optima too, so that figures of optima show them.
    """
    options = parse_options(ThresholdExponentOptions, fit)
    primary = primary_variant(fit, SLOPE_VARIANTS)
    fits: list[dict[str, Any]] = []
    optima: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        found = [
            (value, find_threshold(*successes(level, fit, options, options.over)))
            for value, level in levels(rows, fit.along)
        ]
        kept = [(value, each) for value, each in found if each.status in ("interior", "separated")]
        x = np.array([value for value, _ in kept])
        y = np.array([each.location for _, each in kept])
        se = np.array([each.se for _, each in kept])
        if options.scale == "linear":
            y, se = positive_axis(y, options.over), se / y
        notes = [
            f"{status} at {fit.along} {' '.join(f'{value:g}' for value, each in found if each.status == status)}"
            for status in REASONS
            if any(each.status == status for _, each in found)
        ]
        estimates, status = nothing(SLOPE_VARIANTS), "too_few"
        if len(x) < 3:
            notes.insert(0, f"{len(x)} of {len(found)} levels have a threshold, 3 are needed")
        else:
            log_x = positive_axis(x, fit.along)
            estimates, status = slopes(log_x, y, se), "ok"
            notes.insert(0, slope_note(log_x, y))
        located = [{fit.along: value, "status": each.status, "location": each.location} for value, each in found]
        fits += fit_rows(
            group,
            estimates,
            primary,
            status=status,
            note=", ".join(filter(None, notes)),
            counts=count(rows[rows[fit.along].isin(x)] if len(x) else rows),
            x=x,
            diagnostics={"thresholds": located},
        )
        if options.over.startswith(MEMBER_PREFIX) and options.scale == "log":
            optima += [_as_optimum(group, fit, value, each, rows) for value, each in kept]
    return FitResult(pd.DataFrame(fits), pd.DataFrame(optima))


def _as_optimum(
    group: dict[str, Any], fit: FitConfig, value: float, found: Threshold, rows: pd.DataFrame
) -> dict[str, Any]:
    """A threshold in ln as a row of optima.parquet, in log2."""
    own = rows[rows[fit.along] == value]
    low, high = found.ci
    return {
        "group": group_key(group),
        "along": fit.along,
        "x": value,
        "log2_lr_opt": found.location / LN2,
        "se": found.se / LN2,
        "ci_low": low / LN2,
        "ci_high": high / LN2,
        "status": "interior",
        **dict.fromkeys(("loss_at_opt", "basin_low", "basin_high", "grid_best"), np.nan),
        "n_points": own[fit.options["over"]].nunique(),
        "n_runs": len(own),
    }


SOURCE = "Logistic regression (Cox 1958) with Fieller's (1954) interval; separation: Albert & Anderson 1984"
FAILS = (
    "Runs that share seeds or data are not independent; success that does not approach 0 and 1 (label noise, a floor) "
    "moves the midpoint; a handful of runs around the threshold makes Wald's covariance too small"
)

ESTIMATORS.register("threshold")(
    Estimator(
        "Value of an axis at which a run succeeds with probability one half",
        threshold,
        ("logit",),
        min_points=2,
        parameters=("threshold",),
        source=SOURCE,
        assumes="Independent runs; the log odds of success are linear in the variable, or in its logarithm",
        fails=FAILS,
        needs=(),
        options=ThresholdOptions,
    )
)
ESTIMATORS.register("threshold_exponent")(
    Estimator(
        "Exponent of a success threshold along an axis: d ln x* / d ln x",
        threshold_exponent,
        SLOPE_VARIANTS,
        min_points=3,
        source=SOURCE,
        assumes="As `threshold` at every level; the thresholds scatter independently around a power law",
        fails=f"{FAILS}; a grid that is coarse against the trend turns gaps into steps",
        needs=(),
        options=ThresholdExponentOptions,
    )
)
