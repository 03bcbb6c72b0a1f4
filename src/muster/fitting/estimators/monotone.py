"""Wider is better: does the response fall from each value of the axis to the next?"""

from typing import Any

import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    NoOptions,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import best_members, count, groups, positive_axis, require_columns
from muster.statistics.linear import Estimate, mean_t, slope_ols

VARIANTS = ("worst_step", "mean_step", "slope_t")


class MonotoneOptions(NoOptions):
    """Options of `monotone`."""

    best_over: str | None = Field(
        None, description="Member axis (log2_lr) whose best value is taken per x; absent: select fixes the member"
    )


def worst_of(estimates: list[Estimate]) -> Estimate:
    """The estimate with the highest upper 95 % limit: the one that a claim on all of them must survive.

    By the intersection–union principle the claim `all are below a threshold` may be tested at the level of this single
    test (Berger 1982). Without any limit the largest estimate is returned.
    """
    limited = [estimate for estimate in estimates if estimate.se >= 0]
    if len(limited) < len(estimates):
        return max(estimates, key=lambda estimate: estimate.estimate)
    return max(limited, key=lambda estimate: estimate.interval()[1])


def monotone(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Change of ln response from one value of the axis to the next, paired by seed: negative means that larger is
    better.

    Variants: `worst_step`, the step least in favour, t over seeds (the claim is about every step); `mean_step`, each
    seed's mean step, t over seeds; `slope_t`, d ln response / d ln x over the axis.
    """
    options = parse_options(MonotoneOptions, fit)
    require_columns(table, ["seed", fit.response, *filter(None, [options.best_over])], "response")
    primary = primary_variant(fit, VARIANTS)
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        logs = best_members(rows, fit.response, fit.along, options.best_over).dropna(axis=1, how="all")
        x = logs.columns.to_numpy(float)
        if len(x) < 2:
            note = f"{len(x)} usable values of {fit.along}, 2 are needed"
            fits += fit_rows(group, nothing(VARIANTS), primary, status="too_few", note=note, counts=count(rows), x=x)
            continue
        steps = logs.diff(axis=1).iloc[:, 1:]
        each = [mean_t(steps[column].dropna()) for column in steps]
        worst = worst_of(each)
        at = each.index(worst)
        estimates = {
            "worst_step": worst,
            "mean_step": mean_t(steps.mean(axis=1).dropna()),
            "slope_t": slope_ols(positive_axis(x, fit.along), logs.mean())
            if len(x) > 2
            else nothing(["slope_t"])["slope_t"],
        }
        falling = sum(step.estimate < 0 for step in each)
        note = f"worst step {x[at]:g} to {x[at + 1]:g}, {falling} of {len(each)} steps fall"
        fits += fit_rows(group, estimates, primary, note=note, counts=count(rows), x=x)
    return FitResult(pd.DataFrame(fits))


ESTIMATORS.register("monotone")(
    Estimator(
        "Change of ln response per step of the axis, paired by seed (negative: larger is better)",
        monotone,
        VARIANTS,
        min_points=2,
        parameters=("change",),
        options=MonotoneOptions,
        source="Paired t; the claim on every step by the intersection–union principle (Berger 1982)",
        assumes="Seeds are independent replicates and the same at every value of the axis",
        fails="Noise makes the worst of many steps look worse than any is; with two seeds t(1) shows nothing; the best "
        "member of a coarse grid is not the optimum",
    )
)
