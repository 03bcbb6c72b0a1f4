"""Best-of-n reporting: what the best of n draws of a search would be expected to reach."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions
from muster.fitting.per_group import per_group
from muster.fitting.usable import as_numbers
from muster.statistics.best_of import WEIGHTS
from muster.statistics.linear import Estimate, jackknife

Array = NDArray[np.float64]

VARIANTS = ("u_statistic", "plug_in")
MAX_SHARE = 1 / 4  # of the rows that n may be for an interval


class ExpectedMaxOptions(NoOptions):
    """Options of `expected_max`."""

    draws: int = Field(ge=1, description="n: how many draws the search may make")
    best: Literal["lowest", "highest"] = Field("lowest", description="Whether a low (loss) or a high response is good")


def expected_best(values: Array, draws: int, variant: str, lowest: bool = False) -> float:
    """E[best of n draws] from values [N]; for the lowest through max(−x) = −min(x). Raises a ValueError when n > N.

    A failed draw is ±inf on the poor side. The U-statistic stays finite with fewer than n of them: among any n draws
    one did not fail.
    """
    sign = -1.0 if lowest else 1.0
    ordered = np.sort(sign * np.asarray(values, float))
    weights = WEIGHTS[variant](len(ordered), draws)
    used = weights > 0
    return float(sign * weights[used] @ ordered[used])


def expected_max(rows: pd.DataFrame, fit: FitConfig, options: ExpectedMaxOptions) -> Iterator[Fitted]:
    """Expected best response of n draws from each group's rows (`expected_best`), and how much the best of all N rows
    flatters a search of n (`optimism`, ≥ 0, without an error).

    Rows that diverged or have no finite response are draws that failed: they rank last, and no number stands for them.
    Errors are the jackknife's over rows. Status `too_few`: n > N; `no_se`: n > N/4, where few extreme rows decide and
    the jackknife does not hold; `not_identified`: so many failed that all n draws may fail.
    """
    lowest = options.best == "lowest"
    tidy = as_numbers(rows, [fit.response])
    values = tidy[fit.response].to_numpy(float)
    failed = ~np.isfinite(values)
    if "diverged" in tidy.columns:
        failed |= tidy["diverged"].astype(bool).to_numpy()
    values = np.where(failed, np.inf if lowest else -np.inf, values)
    note = f"best of {options.draws} draws from {len(values)} rows, {int(failed.sum())} of them failed"
    for variant in VARIANTS:
        status, best, optimism = best_of(values, options.draws, variant, lowest)
        for parameter, estimate in (("expected_best", best), ("optimism", optimism)):
            yield Fitted(
                {variant: estimate}, parameter=parameter, status=status, note=note, x=rows[fit.along].to_numpy(float)
            )


def best_of(values: Array, draws: int, variant: str, lowest: bool) -> tuple[str, Estimate, Estimate]:
    """Status, expected best, and its distance from the best of all values."""
    total = len(values)
    none = Estimate(np.nan, np.nan, np.nan)
    if draws > total:
        return "too_few", none, none
    expected = expected_best(values, draws, variant, lowest)
    if not np.isfinite(expected):
        return "not_identified", none, none
    best = values.min() if lowest else values.max()
    optimism = Estimate(abs(expected - best), np.nan, np.nan)
    if draws > MAX_SHARE * total:
        return "ok", Estimate(expected, np.nan, np.nan), optimism
    partial = np.array([expected_best(np.delete(values, i), draws, variant, lowest) for i in range(total)])
    return "ok", Estimate(expected, *jackknife_error(partial)), optimism


def jackknife_error(partial: Array) -> tuple[float, float]:
    """Standard error and degrees of freedom from the statistic without each of the N values [N].

    A best of n rests on few values, so that its variance is itself uncertain: ν = 2 (v/sd(v))² (Satterthwaite 1946)
    with sd(v)² = v² (κ − 1)/N, κ the kurtosis of the partial values; at most N − 1.
    """
    total = len(partial)
    squares = np.square(partial - partial.mean())
    if not squares.sum() > 0:
        return 0.0, total - 1
    kurtosis = np.square(squares).mean() / squares.mean() ** 2
    dof = 2 * total / (kurtosis - 1) if kurtosis > 1 else total - 1
    return jackknife(partial), float(min(dof, total - 1))


ESTIMATORS.register("expected_max")(
    per_group(
        "Expected best of n draws of a search, unbiased, and how much the best of all rows flatters it",
        expected_max,
        VARIANTS,
        min_points=1,
        parameters=("expected_best", "optimism"),
        source="Tang et al. 2020, Showing Your Work Doesn't Always Work (U-statistic); Dodge et al. 2019 (plug-in); "
        "Tukey's jackknife with Satterthwaite's (1946) degrees of freedom",
        assumes="Rows are independent draws from the distribution that a search samples; a grid counts as such a one",
        fails="n near the number of rows rests on one extreme row: no interval is given above a quarter of them, and "
        "below it skewed responses still cost up to three percent of coverage; the plug-in is biased against the "
        "search; rows that share seeds or data are not independent",
        needs=(),
        options=ExpectedMaxOptions,
    )
)
