"""When a measurement first reaches a level, and how that time depends on an axis; runs that never do are censored."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, no_estimates
from muster.fitting.estimators.forms import information_criteria
from muster.fitting.frames import keys, positive_axis, require_columns
from muster.fitting.per_group import per_group
from muster.statistics.censored import MIN_EXACT, interval_regression, slope_interval_censored
from muster.statistics.linear import Estimate, jackknife, mean_t, slope_ols

Array = NDArray[np.float64]

VARIANTS = ("lognormal", "medians")
PARAMETERS = ("slope", "aicc")
THRESHOLDS = 60  # values of x_c that are tried
CURVE_POINTS = 6  # least known times of a curve whose form is compared: more than the parameters of any form


class FirstPassageOptions(NoOptions):
    """Options of `first_passage`."""

    level: float = Field(description="The time is that of the first measurement at or above this level")
    scale: Literal["linear", "log"] = Field("linear", description="log: the slope is d ln t / d ln x")
    unit: float = Field(1.0, gt=0, description="The slope is the change of ln t over this many units of a linear axis")


def passages(table: pd.DataFrame, along: str, response: str, level: float) -> pd.DataFrame:
    """One row a run: its key columns with ln t, between `low` and `high` (equal where the level was reached).

    A passage lies between two measurements: their geometric mean stands for it, so steps of measurement should grow by
    less than the scatter over seeds. Of a run that never gets there, ln t lies above its last step (`high` is
    infinite). The measurement at step 0 only counts against a run that starts above the level, which is an error.
    """
    require_columns(table, ["step", "seed", along, response], "table")
    unit = [column for column in keys(table) if column not in ("step", "probe", "layer")]
    rows = []
    for values, run in table.sort_values("step").groupby(unit, sort=True, dropna=False):
        step, reached = run["step"].to_numpy(float), run[response].to_numpy(float) >= level
        if reached[0] and step[0] == 0:
            raise MusterError("options.level", f"a run is at {level:g} before its first step", "Raise the level")
        first = int(reached.argmax()) if reached.any() else len(step)
        if first == 0:
            raise MusterError("table", "the level is reached at the first measurement", "Measure earlier steps as well")
        last = max(step[first - 1], 1.0)
        low = np.log(last * step[first]) / 2 if first < len(step) else np.log(last)
        rows.append((*values, low, low if first < len(step) else np.inf))
    return pd.DataFrame(rows, columns=[*unit, "low", "high"])


def censored_loglik(x: Array, low: Array, high: Array) -> float:
    """Largest log likelihood of the normal regression of ln t on x [W]: density of known ln t, survival of the rest."""
    from scipy import stats

    fit = interval_regression(x, low, high)
    line, sigma = fit.intercept[0] + fit.slope[0] * x, fit.sigma[0]
    known = low == high
    z = (low - line) / sigma
    return float((stats.norm.logpdf(z[known]) - np.log(sigma)).sum() + stats.norm.logsf(z[~known]).sum())


def divergence_loglik(x: Array, low: Array, high: Array) -> float:
    """The same for t ∝ (x − x_c)^−γ, x_c by maximum likelihood on a grid from far below up to the smallest x."""
    gaps = np.ptp(x) * np.geomspace(1e-3, 10, THRESHOLDS)
    return max(censored_loglik(np.log(x - x.min() + gap), low, high) for gap in gaps)


def aicc_gain(x: Array, low: Array, high: Array) -> float:
    """AICc of the power-law divergence minus that of the exponential, of one curve: positive favours the exponential.

    The forms have 3 and 2 parameters besides the scatter (Hurvich & Tsai 1989); both likelihoods are of ln t.
    """
    n = len(x)
    fits = (divergence_loglik(x, low, high), 3), (censored_loglik(x, low, high), 2)
    # −2 ln L takes the place of n ln(RSS/n), which it equals, up to a constant, where nothing is censored.
    divergence, exponential = (
        information_criteria(n * np.exp(-2 * value / n), n, parameters)[0] for value, parameters in fits
    )
    return divergence - exponential


def slope_lognormal(x: Array, low: Array, high: Array) -> Estimate:
    """Slope of ln t, censored, on x over runs [R]; its error leaves out one value of x at a time, t(G − 2) for the G
    values at which times are known: runs of one value share its deviation from the line, and counted as independent
    they covered .56–.86 of 95 %. NaN error where the values left do not tell a slope."""
    slope = slope_interval_censored(x, low, high)
    exact, values = low == high, np.unique(x)
    partial = [
        slope_interval_censored(x[kept], low[kept], high[kept]).estimate
        if len(np.unique(x[kept & exact])) > 1
        else np.nan
        for kept in (x != value for value in values)
    ]
    return slope._replace(se=jackknife(partial), dof=len(np.unique(x[exact])) - 2)


def _slopes(runs: pd.DataFrame, x: Array) -> dict[str, Estimate]:
    """`lognormal`; and `medians`, through the median ln t of each x where less than half of its runs are censored."""
    medians = runs["high"].groupby(x).median()
    medians = medians[np.isfinite(medians)]
    found = {"lognormal": slope_lognormal(x, runs["low"].to_numpy(float), runs["high"].to_numpy(float))}
    if len(medians) >= 3:
        found["medians"] = slope_ols(medians.index.to_numpy(float), medians)
    return found


def _aicc_gains(runs: pd.DataFrame, x: Array) -> list[float]:
    """One number per seed whose curve has CURVE_POINTS known times."""
    low, high = runs["low"].to_numpy(float), runs["high"].to_numpy(float)
    seeds = runs["seed"].to_numpy()
    curves = (seeds == seed for seed in runs["seed"].unique())
    return [aicc_gain(x[o], low[o], high[o]) for o in curves if np.isfinite(high[o]).sum() >= CURVE_POINTS]


def first_passage(rows: pd.DataFrame, fit: FitConfig, options: FirstPassageOptions) -> Iterator[Fitted]:
    """Change of ln t with x, t the first step at which the response reaches a level; and which form the curve has.

    `slope`: normal regression of ln t with right-censored times (`lognormal`, an accelerated failure time model), or
    through the medians (`medians`). `aicc`: by how much an exponential t ∝ e^(−kx) beats a divergence (x − x_c)^−γ on
    the curve of each seed, averaged over seeds (t over seeds), on a linear axis: positive favours the exponential.
    """
    runs = passages(rows, fit.along, fit.response, options.level)
    x = runs[fit.along].to_numpy(float)
    at = positive_axis(x, fit.along) if options.scale == "log" else x / options.unit
    known = int(np.isfinite(runs["high"]).sum())
    enough = known >= MIN_EXACT and len(np.unique(at)) >= 3
    curves = _aicc_gains(runs, at) if enough and options.scale == "linear" else []
    found = {
        "slope": (_slopes(runs, at) if enough else {}, f"{known} of {len(runs)} runs reach {options.level:g}"),
        "aicc": ({"lognormal": mean_t(curves)} if curves else {}, f"{len(curves)} curves"),
    }
    for parameter, (estimates, note) in found.items():
        yield Fitted(
            no_estimates(VARIANTS) | estimates,
            parameter=parameter,
            status="ok" if estimates else "too_few",
            note=note,
            x=x,
        )


ESTIMATORS.register("first_passage")(
    per_group(
        "How the time at which a measurement first reaches a level depends on an axis: slope of ln t, and its form",
        first_passage,
        VARIANTS,
        min_points=3,
        parameters=PARAMETERS,
        options=FirstPassageOptions,
        source="Censored normal regression: Tobin 1958, Olsen 1978; AICc: Hurvich & Tsai 1989",
        assumes="ln t linear in x with normal scatter of one size; values of x are independent; runs that end early "
        "end for reasons that have nothing to do with t",
        fails="`aicc` takes seeds as replicates: scatter that all seeds of a value share is not in its error. A "
        "curve that bends has no single slope: it depends on the range of x; where most runs are censored the "
        "tail rests on the normal law alone; measurements far apart blur t",
    )
)
