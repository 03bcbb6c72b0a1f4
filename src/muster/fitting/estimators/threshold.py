"""Where success sets in: the location of a threshold by logistic regression, and how it moves along an axis."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, Optima
from muster.fitting.frames import MEMBER_PREFIX, count, levels, natural_log, positive_axis
from muster.fitting.per_group import per_group
from muster.fitting.usable import as_numbers
from muster.statistics.linear import SLOPE_VARIANTS, Estimate, enclosing, slope_note, slopes
from muster.statistics.threshold import Threshold, find_threshold

Array = NDArray[np.float64]

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


def threshold(rows: pd.DataFrame, fit: FitConfig, options: ThresholdOptions) -> Iterator[Fitted]:
    """The value of `along` at which a run succeeds with probability one half, in the units of `along`.

    Fieller's interval, made symmetric so that p and interval agree (`enclosing`). Status `no_se`: success and failure
    are separated, the interval is the gap between them; `not_identified`: no threshold within the runs.
    """
    x, success = successes(rows, fit, options, fit.along)
    found = find_threshold(x, success)
    location, ci = found.location, found.ci
    if options.scale == "log":
        location, ci = float(np.exp(location)), (float(np.exp(ci[0])), float(np.exp(ci[1])))
    estimate = Estimate(location, np.nan, np.nan, ci=ci)
    if found.status == "interior":
        estimate = enclosing(location, ci, np.inf)
    status = {"interior": "ok", "separated": "no_se"}.get(found.status, "not_identified")
    yield Fitted(
        {"logit": estimate},
        status=status,
        note=", ".join(filter(None, [f"{int(success.sum())} of {len(x)} succeed", REASONS.get(found.status)])),
        x=rows[fit.along].to_numpy(float),
    )


def threshold_exponent(
    rows: pd.DataFrame, fit: FitConfig, options: ThresholdExponentOptions
) -> Iterator[Fitted | Optima]:
    """Exponent d ln x* / d ln(along) of the threshold x* of the variable `over`.

    A separated level enters at the middle of its gap, with the error of a uniform variable there; levels without a
    threshold are named in the note and left out. Fewer than three levels give status `too_few`. On a linear scale a
    threshold ≤ 0 has no exponent: a MusterError. Where `over` holds logarithms (log2_lr) the thresholds are returned as
    optima too, so that figures of optima show them.
    """
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
    estimates: dict[str, Estimate] = {}
    status = "too_few"
    if len(x) < 3:
        notes.insert(0, f"{len(x)} of {len(found)} levels have a threshold, 3 are needed")
    else:
        log_x = positive_axis(x, fit.along)
        estimates, status = slopes(log_x, y, se), "ok"
        notes.insert(0, slope_note(log_x, y))
    located = [{fit.along: value, "status": each.status, "location": each.location} for value, each in found]
    yield Fitted(
        estimates,
        status=status,
        note=", ".join(filter(None, notes)),
        counts=count(rows[rows[fit.along].isin(x)] if len(x) else rows),
        x=x,
        diagnostics={"thresholds": located},
    )
    if options.over.startswith(MEMBER_PREFIX) and options.scale == "log":
        yield Optima([_as_optimum(fit, value, each, rows) for value, each in kept])


def _as_optimum(fit: FitConfig, value: float, found: Threshold, rows: pd.DataFrame) -> dict[str, Any]:
    """A threshold in ln as a row of optima.parquet, in log2."""
    own = rows[rows[fit.along] == value]
    low, high = found.ci
    return {
        "group": {},
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
    per_group(
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
    per_group(
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
