"""Power laws: the log–log slope of a positive response along an axis."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, PoolOptions
from muster.fitting.frames import complete_seeds, levels, positive_axis, require_columns
from muster.fitting.per_group import per_group
from muster.statistics.linear import SLOPE_VARIANTS, jackknife, slope_note, slopes

Matrix = NDArray[np.float64]


class PowerLawOptions(PoolOptions):
    """Options of `power_law`."""

    mean: Literal["geometric", "arithmetic"] = Field(
        "geometric", description="Mean over seeds and pooled columns at each x"
    )
    aggregate: Literal["mean", "std_over_seeds"] = Field(
        "mean",
        description="std_over_seeds: the response becomes the standard deviation over seeds, relative to the RMS seed "
        "mean, averaged in the log over the pooled columns",
    )


def log_geometric_mean(values: Matrix) -> float:
    """Mean of ln values [S, E]."""
    return float(np.log(values).mean())


def log_arithmetic_mean(values: Matrix) -> float:
    """ln of the mean of values [S, E]."""
    return float(np.log(values.mean()))


def log_relative_std(values: Matrix) -> float:
    """ln of the standard deviation over seeds of each entry of values [S, E], averaged over entries, relative to the
    RMS of the entries' means; NaN for one seed.

    One common scale per shape, because single entries may have a mean near zero. E ln s² = ln σ² + ψ(ν/2) − ln(ν/2) for
    normal values with ν = S − 1, so that small S does not bias the level.
    """
    from scipy import special

    dof = len(values) - 1
    if dof < 1:
        return np.nan
    std = values.std(axis=0, ddof=1)
    if not (std > 0).all():
        return -np.inf
    bias = 0.5 * (special.digamma(dof / 2) - np.log(dof / 2))
    return float(np.log(std).mean() - bias - 0.5 * np.log(np.square(values.mean(axis=0)).mean()))


def jackknife_se(values: NDArray[Any], statistic: Callable[[NDArray[Any]], float]) -> float:
    """Leave-one-seed-out standard error of a statistic of values [S, E]; NaN where it cannot be had.

    Seeds are the replicates: entries of one network are not independent of each other.
    """
    seeds = len(values)
    if seeds < 2:
        return np.nan
    return jackknife([statistic(np.delete(values, seed, axis=0)) for seed in range(seeds)])


def choose_statistic(options: PowerLawOptions) -> Callable[[Matrix], float]:
    if options.aggregate == "std_over_seeds":
        return log_relative_std
    return {"geometric": log_geometric_mean, "arithmetic": log_arithmetic_mean}[options.mean]


def power_law(rows: pd.DataFrame, fit: FitConfig, options: PowerLawOptions) -> Iterator[Fitted]:
    """Exponent d ln y / d ln x of a positive response along an axis; the intercept is ln y at x = 1.

    One number per x (so that seeds of one width do not count as widths), then a line over x. Seeds with a missing,
    infinite or diverged value are left out and counted in the note.
    """
    require_columns(rows, ["seed", fit.response], "response")
    require_columns(rows, options.pool, "options.pool")
    statistic = choose_statistic(options)
    signed = options.aggregate == "std_over_seeds"
    x, y, se, lost = [], [], [], 0
    for value, level in levels(rows, fit.along):
        matrix, missing = complete_seeds(level, fit.response, options.pool)
        if not signed and (matrix <= 0).any():
            where = f"{fit.response} is {matrix.min():g} at {fit.along} {value:g}"
            raise MusterError("response", where, "A power law needs positive values: select the rows that have them")
        lost += missing
        if len(matrix) and np.isfinite(number := statistic(matrix)):
            x.append(value)
            y.append(number)
            se.append(jackknife_se(matrix, statistic))
    left_out = f"{lost} seeds left out (missing or diverged)" if lost else ""
    if len(x) < 3:
        note = ", ".join(filter(None, [f"{len(x)} usable values of {fit.along}, 3 are needed", left_out]))
        yield Fitted({}, status="too_few", note=note, x=x)
        return
    log_x = positive_axis(x, fit.along)
    note = ", ".join(filter(None, [slope_note(log_x, y), left_out]))
    yield Fitted(slopes(log_x, y, se), note=note, x=x)


ESTIMATORS.register("power_law")(
    per_group(
        "Exponent of a positive response along an axis: d ln y / d ln x",
        power_law,
        SLOPE_VARIANTS,
        min_points=3,
        options=PowerLawOptions,
        source="Least squares of logarithms; HC3: MacKinnon & White 1985; random effects: Knapp & Hartung 2003",
        assumes="ln y linear in ln x, without offset; scatter between values of x independent and, for `ols_t`, of one "
        "size",
        fails="An offset E > 0 or a second power bends the line: the exponent then depends on the range of x, under a "
        "narrow interval (see the curvature p in the note)",
    )
)
