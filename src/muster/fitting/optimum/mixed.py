"""A line with a random intercept per shape, through optima of single seeds: a check on the line through their means."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muster.fitting.optimum.quadratic import Optimum
from muster.statistics.linear import Estimate

Array = NDArray[np.float64]

MIN_SHAPES = 5
MIN_SEEDS = 3
SINGULAR = 1e-3  # a variance below this share of the total is at its boundary, as near as the optimizer gets

NONE = Estimate(np.nan, np.nan, np.nan)


def seed_optima(optimum: Optimum) -> Array:
    """log2_lr* of each seed alone, on the points and weights of the mean curve; seeds whose own quadratic has no
    minimum inside the window are left out, and below three seeds all are: `slope_mixed` could not use them."""
    if optimum.window is None or len(optimum.window.log_loss) < MIN_SEEDS:
        return np.empty(0)
    low, high = optimum.window.offset[[0, -1]]
    found = []
    for seed in range(len(optimum.window.log_loss)):
        quadratic = optimum.refit(np.array([seed]))
        if quadratic.beta[2] > 0 and low <= quadratic.vertex() <= high:
            found.append(optimum.grid_best + quadratic.vertex())
    return np.array(found)


def slope_mixed(x: ArrayLike, y: Sequence[ArrayLike]) -> tuple[Estimate, str]:
    """Slope of y on x [W], where y holds the values of the seeds at each x, and a note that says why there is none.

    y_ws = α + βx_w + u_w + e_ws by restricted maximum likelihood (Laird & Ware 1982; statsmodels' `MixedLM`), with
    t(W−2) as for the line through the means: shapes, not seeds, are the replicates of a slope. Needs five shapes with
    three seeds each. A variance component at its boundary, zero, leaves no standard error: asymptotics fail there.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    x, values = np.asarray(x, float), [np.asarray(each, float) for each in y]
    if len(x) < MIN_SHAPES or min(map(len, values)) < MIN_SEEDS:
        return NONE, f"mixed needs {MIN_SHAPES} shapes with {MIN_SEEDS} seeds each"
    response, shape = np.concatenate(values), np.repeat(np.arange(len(x)), [len(each) for each in values])
    centre, scale = response.mean(), response.std()
    if scale == 0:
        return NONE, "mixed is singular: all optima are equal"
    design = np.column_stack([np.ones(len(shape)), x[shape] - x.mean()])
    with warnings.catch_warnings():
        # What it warns of, a boundary or no convergence, is judged below.
        warnings.simplefilter("ignore")
        try:
            fit = MixedLM((response - centre) / scale, design, groups=shape).fit(reml=True)
        except (np.linalg.LinAlgError, ValueError):
            return NONE, "mixed is singular"
        beta, se = np.asarray(fit.fe_params, float), np.asarray(fit.bse_fe, float)
        components = np.array([fit.cov_re[0, 0], fit.scale])
    if not (fit.converged and np.isfinite([*beta, *se]).all()):
        return NONE, "mixed did not converge"
    slope, intercept = beta[1] * scale, beta[0] * scale + centre
    if components.min() < SINGULAR * components.sum():
        what = "between shapes" if components[0] < components[1] else "between seeds"
        return Estimate(slope, np.nan, np.nan, intercept - slope * x.mean()), f"mixed is singular: no scatter {what}"
    return Estimate(slope, se[1] * scale, len(x) - 2, intercept - slope * x.mean()), ""
