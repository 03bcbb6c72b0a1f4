"""Which of two groups has the lower response: paired differences over the axis and seeds."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    PairOptions,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import best_members, count, groups, require_columns, select
from muster.statistics.linear import mean_t

VARIANTS = ("cluster_t", "pairwise_t")


class OrderingOptions(PairOptions):
    """Options of `ordering`."""

    best_over: str | None = Field(
        None,
        description="Member axis (log2_lr) whose best value is taken per x and group; absent: select fixes the member",
    )


def ordering(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Mean of ln(response of a) − ln(response of b), paired over the axis and seeds: negative means that a is lower,
    better for a loss.

    Variants: `cluster_t`, the mean over seeds at each x, then t over x, because pairs of one width share its
    peculiarities; `pairwise_t`, all pairs as independent.
    """
    options = parse_options(OrderingOptions, fit)
    require_columns(table, ["seed", fit.response, *filter(None, [options.best_over])], "response")
    primary = primary_variant(fit, VARIANTS)
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        rows_a, rows_b = select(rows, options.a, "options.a"), select(rows, options.b, "options.b")
        logs = [best_members(side, fit.response, fit.along, options.best_over) for side in (rows_a, rows_b)]
        difference = (logs[0] - logs[1]).dropna(axis=1, how="all") if all(map(len, logs)) else pd.DataFrame()
        pairs = difference.to_numpy(float)
        pairs = pairs[np.isfinite(pairs)]
        counts = count(pd.concat([rows_a, rows_b]))
        note = f"{len(pairs)} pairs over {difference.shape[1]} values of {fit.along}"
        if difference.shape[1] < 2:
            few = f"{note}, 2 values are needed"
            fits += fit_rows(group, nothing(VARIANTS), primary, status="too_few", note=few, counts=counts)
            continue
        estimates = {"cluster_t": mean_t(difference.mean()), "pairwise_t": mean_t(pairs)}
        fits += fit_rows(group, estimates, primary, note=note, counts=counts, x=difference.columns.to_numpy(float))
    return FitResult(pd.DataFrame(fits))


ESTIMATORS.register("ordering")(
    Estimator(
        "Mean ln ratio of two groups' responses, paired over the axis and seeds (negative: a is lower)",
        ordering,
        VARIANTS,
        min_points=2,
        parameters=("difference",),
        options=OrderingOptions,
        source="Paired t over the values of the axis (Student 1908)",
        assumes="One mean difference at all values of the axis, with independent scatter between them",
        fails="Groups tuned on grids of different reach or spacing compare tuning; `pairwise_t` is too short when "
        "pairs of one value of the axis share more than chance",
    )
)
