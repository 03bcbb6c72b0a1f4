"""One number of several groups of runs, such as data sets: another estimator's, averaged with random effects."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig, Name
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Estimator, Fitted, NoOptions, parse_options, plain, primary_variant
from muster.fitting.frames import count, groups, require_columns
from muster.fitting.per_group import per_group
from muster.statistics.linear import mean_reml_kh, mean_t, wider

VARIANTS = ("reml_kh", "mean_t")


class PooledOptions(NoOptions):
    """Options of `pooled`."""

    estimator: Name = Field(
        description="The estimator whose number is averaged, such as lr_transfer or power_law", examples=["power_law"]
    )
    across: list[str] = Field(min_length=1, description="Columns whose combinations are the groups, such as dataset")
    parameter: Name | None = Field(None, description="Which of its numbers; its first if absent")
    variant: Name | None = Field(None, description="Which of its variants; its first if absent")
    options: dict[str, Any] = Field(default_factory=dict, description="Its own options")


def _inner(options: PooledOptions, fit: FitConfig) -> tuple[Estimator, FitConfig, str]:
    """The estimator of each group, its fit, and the name of its number."""
    try:
        estimator = ESTIMATORS[options.estimator]
    except MusterError as error:
        raise MusterError("options.estimator", error.found, error.remedy) from None
    own: dict[str, Any] = {
        "estimator": options.estimator,
        "by": [],
        "select": {},
        "primary": options.variant,
        "options": options.options,
    }
    inner = fit.model_copy(update=own)
    try:
        primary_variant(inner, estimator.variants)
        estimator.check(parse_options(estimator.options, inner))
    except MusterError as error:
        raise MusterError(f"options.{error.place}", error.found, error.remedy) from None
    numbers = estimator.numbers(inner)
    name = options.parameter or numbers[0]
    if name not in numbers:
        raise MusterError(
            "options.parameter", f"{options.estimator} returns no {name!r}", f"One of: {', '.join(numbers)}"
        )
    return estimator, inner, name


def pooled(rows: pd.DataFrame, fit: FitConfig, options: PooledOptions) -> Iterator[Fitted]:
    """Mean of a number over groups that were fitted one by one; the groups, not their rows, are the replicates.

    `reml_kh`: random-effects mean, each group with its own error, or `mean_t` where that is wider; `mean_t`: all alike.
    Both t(G − 1) for the G groups that have a number; the others are named with their status.
    """
    require_columns(rows, options.across, "options.across")
    estimator, inner, name = _inner(options, fit)
    found: list[tuple[str, float, float]] = []
    lost = []
    for group, part in groups(rows, options.across):
        fits = estimator.function(part, inner).fits
        named = fits["parameter"].replace("", estimator.first(inner)) == name
        row = fits[named & fits["primary"]].iloc[0]
        label = " ".join(str(plain(value)) for value in group.values())
        if row["status"] == "ok":
            found.append((label, float(row["estimate"]), float(row["se"])))
        else:
            lost.append(f"{label} {row['status']}")
    notes = [
        ", ".join(f"{label} {value:.3g}" for label, value, _ in found),
        f"left out: {', '.join(lost)}" if lost else "",
    ]
    if len(found) < 2:
        few = f"{len(found)} of {len(found) + len(lost)} groups have a number, 2 are needed"
        yield Fitted({}, status="too_few", note="; ".join(filter(None, [few, *notes])))
        return
    values, errors = np.array([value for _, value, _ in found]), np.array([se for _, _, se in found])
    plain_mean = mean_t(values)
    yield Fitted(
        {"reml_kh": wider(mean_reml_kh(values, errors), plain_mean), "mean_t": plain_mean},
        note="; ".join(filter(None, notes)),
        counts=count(rows),
        diagnostics={"groups": [{"group": label, "estimate": value, "se": se} for label, value, se in found]},
    )


def _check(options: PooledOptions) -> None:
    _inner(options, FitConfig.model_validate({"estimator": "pooled", "response": "response"}))


ESTIMATORS.register("pooled")(
    per_group(
        "Another estimator's number, averaged over groups such as data sets (random effects)",
        pooled,
        VARIANTS,
        min_points=1,
        parameters=("mean",),
        needs=(),
        options=PooledOptions,
        check=_check,
        source="Viechtbauer 2005; Knapp & Hartung 2003; plain t (Student 1908) where it is wider",
        assumes="Groups are a sample of those that are spoken of, independent of each other",
        fails="Groups that cannot be fitted are left out, and are often those where the number is extreme; two or "
        "three groups leave one or two degrees of freedom",
    )
)
