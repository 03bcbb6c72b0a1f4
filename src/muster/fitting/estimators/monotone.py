"""Wider is better: does the response fall from each value of the axis to the next?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, no_estimates
from muster.fitting.estimators.lr_transfer import MEMBER, WindowOptions, shape_optima
from muster.fitting.frames import best_members, positive_axis, require_columns
from muster.fitting.per_group import per_group
from muster.statistics.components import Component, largest
from muster.statistics.linear import Estimate, mean_t, slope_ols

VARIANTS = ("worst_step", "mean_step", "slope_t")
CURVE = 3  # coefficients of the smooth curve over ln x around which the losses of one seed scatter

Array = NDArray[np.float64]


class MonotoneOptions(NoOptions):
    """Options of `monotone`."""

    best_over: str | None = Field(
        None, description="Member axis (log2_lr) whose best value is taken per x; absent: select fixes the member"
    )


def seed_steps(logs: pd.DataFrame) -> list[Estimate]:
    """Change of ln response from each column to the next, paired by seed, t(S − 1)."""
    steps = logs.diff(axis=1).iloc[:, 1:]
    return [mean_t(steps[column].dropna()) for column in steps]


def single_seed_steps(rows: pd.DataFrame, fit: FitConfig, logs: pd.DataFrame, best_over: str | None) -> list[Estimate]:
    """Change of ln response from each value of the axis to the next where there is one seed.

    The error of one value is the larger of two: of the loss at the vertex of its basin, from the quadratic's residual,
    where optima are sought over the learning rate; and the scatter of all values around a quadratic in ln x, from
    W = 5 on, which also holds what moves a seed's whole curve up or down. Without either there is no error.
    """
    values, x = logs.iloc[0].to_numpy(float), logs.columns.to_numpy(float)
    error, dof = np.full(len(x), np.nan), np.nan
    if best_over == MEMBER:
        found = shape_optima(rows[rows[fit.along].isin(x)], fit, WindowOptions())  # type: ignore[call-arg]
        if all(each.status == "interior" for each in found):
            fits = [each.refit(np.array([0])) for each in found]
            dof = sum(each.dof for each in fits)
            residual = np.sqrt(sum(each.rss for each in fits) / dof)
            values = np.array([each.at(each.vertex()) for each in fits])
            design = np.vander([each.vertex() for each in fits], 3, increasing=True)
            covariances = np.array([each.unscaled_cov for each in fits])
            error = residual * np.sqrt(np.einsum("wi,wij,wj->w", design, covariances, design))
    if len(x) > CURVE + 1 and (x > 0).all():
        design = np.vander(np.log(x) - np.log(x).mean(), CURVE, increasing=True)
        left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        scatter = float(np.sqrt(np.square(left).sum() / (len(x) - CURVE)))
        if not (error >= scatter).all():
            error, dof = np.fmax(error, scatter), len(x) - CURVE
    return [
        Estimate(float(change), float(np.hypot(*error[i : i + 2])), dof) for i, change in enumerate(np.diff(values))
    ]


def monotone(rows: pd.DataFrame, fit: FitConfig, options: MonotoneOptions) -> Iterator[Fitted]:
    """Change of ln response from one value of the axis to the next, paired by seed: negative means that larger is
    better.

    Variants: `worst_step`, over every step (all are kept in the diagnostics, and which decides depends on the claimed
    bound: `statistics.components`), t over seeds, for one seed as `single_seed_steps`; `mean_step`, each seed's mean
    step, t over seeds; `slope_t`, d ln response / d ln x over the axis.
    """
    require_columns(rows, ["seed", fit.response, *filter(None, [options.best_over])], "response")
    logs = best_members(rows, fit.response, fit.along, options.best_over).dropna(axis=1, how="all")
    x = logs.columns.to_numpy(float)
    if len(x) < 2:
        note = f"{len(x)} usable values of {fit.along}, 2 are needed"
        yield Fitted({}, status="too_few", note=note, x=x)
        return
    each = seed_steps(logs) if len(logs) > 1 else single_seed_steps(rows, fit, logs, options.best_over)
    components = [
        Component(float(end), step.estimate, step.se, step.dof) for end, step in zip(x[1:], each, strict=True)
    ]
    estimates = {
        "worst_step": largest(components),
        "mean_step": mean_t(logs.diff(axis=1).iloc[:, 1:].mean(axis=1).dropna()),
        "slope_t": slope_ols(positive_axis(x, fit.along), logs.mean())
        if len(x) > 2
        else no_estimates(["slope_t"])["slope_t"],
    }
    at = int(np.argmax([step.estimate for step in each]))
    falling = sum(step.estimate < 0 for step in each)
    yield Fitted(
        estimates,
        note=f"worst step {x[at]:g} to {x[at + 1]:g}, {falling} of {len(each)} steps fall",
        x=x,
        diagnostics={"components": [step._asdict() for step in components], "of": "worst_step"},
    )


ESTIMATORS.register("monotone")(
    per_group(
        "Change of ln response per step of the axis, paired by seed (negative: larger is better)",
        monotone,
        VARIANTS,
        min_points=2,
        parameters=("change",),
        options=MonotoneOptions,
        source="Paired t; every step by the intersection–union principle (Berger 1982), refuted by Bonferroni's bound",
        assumes="Seeds are independent replicates and the same at every value of the axis; for one seed, ln response "
        "is smooth in ln x beside its noise",
        fails="With two seeds t(1) shows nothing; below five values one seed does not show how far its losses lie up "
        "or down; the best member of a coarse grid is not the optimum",
    )
)
