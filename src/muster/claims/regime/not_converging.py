"""`not_converging`: the optima do not approach a limit that lies near the largest of them."""

import numpy as np
from pydantic import Field

from muster.claims.regime.axis import nothing, points_of
from muster.claims.regime.base import REGIME_CHECKS, Checked, Measured, RegimeCheck
from muster.fitting.base import NoOptions
from muster.fitting.estimators.limit_rate import MIN_SHAPES, fit_approach
from muster.statistics.linear import slope_ols

SUPPORT = 2.0  # units of ln likelihood by which one curve is the better one (Edwards 1972, Likelihood, chapter 3)


class ConvergingOptions(NoOptions):
    """Options of `not_converging`."""

    power: float = Field(0.5, gt=0, description="γ of the approach lr∞ (1 − c n^−γ); the theorem of µP has ½")
    drift: float = Field(0.5, gt=0, description="Drift left beyond the largest shape, in ln lr, that is still near")


def not_converging(measured: Measured, options: ConvergingOptions) -> Checked:
    """Drift of ln lr* left beyond the largest shape if it approaches a limit as n^−γ; infinite if a power law describes
    the optima better by two units of ln likelihood.

    Both curves have two numbers. With three optima no scatter is left to compare them by: then the drift alone counts.
    """
    log_x, y = points_of(measured)
    if len(log_x) < MIN_SHAPES - 1:
        return nothing(options.drift, np.inf, f"{len(log_x)} usable optima, {MIN_SHAPES - 1} are needed")
    approach = fit_approach(np.exp(log_x), y, options.power)
    left = approach.scatter**2 * (len(log_x) - 2)
    line = slope_ols(log_x, y)
    straight = float(np.square(y - line.intercept - line.estimate * log_x).sum())
    with np.errstate(divide="ignore"):
        support = len(log_x) / 2 * (np.log(left) - np.log(straight))
    better = len(log_x) >= MIN_SHAPES and support > SUPPORT
    note = f"as a limit approached as n^-{options.power:g}: lr {np.exp(approach.limit):.4g}"
    return Checked(np.inf if better else abs(approach.drift), options.drift, np.inf, note)


REGIME_CHECKS.register("not_converging")(
    RegimeCheck(
        "The optima do not approach a limit near the largest of them as n^−½, or a power law describes them better",
        not_converging,
        ConvergingOptions,
        source="The optimum under µP converges at n^−½; support: Edwards 1972",
        fails="With few shapes on a short range a slow power law, n^±0.2, looks like an approach to a limit",
        blocks="refuted",
    )
)
