"""The mean of a response, with the values of the axis as replicates."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, PoolOptions
from muster.fitting.frames import complete_seeds, levels, require_columns
from muster.fitting.per_group import per_group
from muster.statistics.linear import mean_t

VARIANTS = ("cluster_t", "pooled_t")


def mean(rows: pd.DataFrame, fit: FitConfig, options: PoolOptions) -> Iterator[Fitted]:
    """Mean of a response over an axis.

    Variants: `cluster_t`, the mean over seeds at each x, then t over x; `pooled_t`, all (x, seed) as independent.
    """
    require_columns(rows, ["seed", fit.response], "response")
    require_columns(rows, options.pool, "options.pool")
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
        yield Fitted({}, status="too_few", note=few, x=x)
        return
    estimates = {
        "cluster_t": mean_t([level.mean() for level in seeds]),
        "pooled_t": mean_t(np.concatenate(seeds)),
    }
    yield Fitted(estimates, note=note, x=x)


ESTIMATORS.register("mean")(
    per_group(
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
