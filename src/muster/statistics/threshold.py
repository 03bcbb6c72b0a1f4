"""Where success sets in: the location of a threshold by logistic regression."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.statistics.fieller import fieller, vertex_se

Array = NDArray[np.float64]

TREND_CHI2 = 3.841459  # 95 % point of χ²(1)
NORMAL_975 = 1.959964


@dataclass(frozen=True)
class Threshold:
    """Where the probability of success is one half, on the scale of the regression.

    status: interior; separated (success and failure overlap nowhere, or at one value alone: `ci` is the gap between
    them, or between that value's neighbours, `location` its middle, `se` that of a uniform variable in it); one_sided
    (all runs succeed, or all fail); flat (no trend by the likelihood ratio at 5 %).
    """

    status: str
    location: float = np.nan
    se: float = np.nan
    ci: tuple[float, float] = (np.nan, np.nan)


def _neighbours(x: Array, value: float) -> tuple[float, float]:
    """The values of x next to one of them; on a side where there is none, as far away as on the other."""
    below, above = x[x < value], x[x > value]
    low = below.max() if len(below) else None
    high = above.min() if len(above) else None
    if low is None:
        low = value if high is None else 2 * value - high
    return low, 2 * value - low if high is None else high


def find_threshold(x: Array, success: Array) -> Threshold:
    """The x at which P(success) = 1/2 in the model logit P = β₀ + β₁x, from x [R] and success [R] (0 or 1).

    The location −β₀/β₁ is a ratio of normals: Fieller's (1954) interval, delta-method error. Without overlap of
    successes and failures the likelihood has no maximum (Albert & Anderson 1984).
    """
    import statsmodels.api as sm

    yes, no = x[success > 0], x[success == 0]
    if not len(yes) or not len(no):
        return Threshold("one_sided")
    for low, high in ((no.max(), yes.min()), (yes.max(), no.min())):
        if low <= high:
            if low == high:  # both at this one value: the threshold lies between its neighbours
                low, high = _neighbours(x, low)
            low, high = float(low), float(high)
            return Threshold("separated", (low + high) / 2, (high - low) / float(np.sqrt(12)), (low, high))
    centre, spread = x.mean(), x.std()
    z = (x - centre) / spread
    fit = sm.GLM(success, sm.add_constant(z), family=sm.families.Binomial()).fit()
    beta, cov = np.asarray(fit.params), np.asarray(fit.cov_params())
    # Wald's z shrinks again as the threshold sharpens (Hauck & Donner 1977); the likelihood ratio does not.
    if fit.null_deviance - fit.deviance <= TREND_CHI2:
        return Threshold("flat")
    # The zero of b₀ + b₁z is the vertex of a parabola with coefficients (b₀, b₁/2).
    to_vertex = np.array([[0, 0], [1, 0], [0, 0.5]])
    line, line_cov = to_vertex @ beta, to_vertex @ cov @ to_vertex.T
    low, high = fieller(line, line_cov, NORMAL_975)
    return Threshold(
        "interior",
        float(centre - spread * beta[0] / beta[1]),
        float(spread * vertex_se(line, line_cov)),
        (float(centre + spread * low), float(centre + spread * high)),
    )
