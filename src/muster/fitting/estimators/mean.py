"""The mean of a response, with the values of the axis as replicates."""

from typing import Any

import numpy as np
import pandas as pd

from muster.config.models import FitConfig
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    PoolOptions,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import complete_seeds, count, groups, levels, require_columns
from muster.statistics.linear import mean_t

VARIANTS = ("cluster_t", "pooled_t")


def mean(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Mean of a response over an axis.

    Variants: `cluster_t`, the mean over seeds at each x, then t over x; `pooled_t`, all (x, seed) as independent.
    """
    options = parse_options(PoolOptions, fit)
    require_columns(table, ["seed", fit.response], "response")
    require_columns(table, options.pool, "options.pool")
    primary = primary_variant(fit, VARIANTS)
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        x, seeds, lost = [], [], 0
        for value, level in levels(rows, fit.along):
            matrix, missing = complete_seeds(level, fit.response, options.pool)
            lost += missing
            if len(matrix):
                x.append(value)
                seeds.append(matrix.mean(axis=1))
        note = f"{lost} seeds left out (missing or diverged)" if lost else ""
        if len(x) < 2:
            few = ", ".join(filter(None, [f"{len(x)} usable values of {fit.along}, 2 are needed", note]))
            fits += fit_rows(group, nothing(VARIANTS), primary, status="too_few", note=few, counts=count(rows), x=x)
            continue
        estimates = {
            "cluster_t": mean_t([level.mean() for level in seeds]),
            "pooled_t": mean_t(np.concatenate(seeds)),
        }
        fits += fit_rows(group, estimates, primary, note=note, counts=count(rows), x=x)
    return FitResult(pd.DataFrame(fits))


ESTIMATORS.register("mean")(
    Estimator(
        "Mean of a response, with t over the values of the axis",
        mean,
        VARIANTS,
        min_points=2,
        parameters=("mean",),
        options=PoolOptions,
        source="Student 1908, with the values of the axis as the sample",
        assumes="The expected response is the same at every value of the axis; scatter between them is independent",
        fails="A trend along the axis enters as scatter: the interval widens and holds for no single value",
    )
)
