"""Statistics over independent draws, with their standard errors."""

import math

import numpy as np
from numpy.typing import NDArray

from muster.sampling.tables import Estimate, Moments


def mean_over_draws(values: NDArray[np.float64]) -> Estimate:
    """Mean of values [draws] with its standard error."""
    moments = Moments()
    moments.add(np.asarray(values, float))
    return moments.mean()


def ratio_of_means(over: NDArray[np.float64], under: NDArray[np.float64]) -> Estimate:
    """E a/E b of paired draws a, b [draws], se by the delta method: the influence of a draw is (a − r b)/E b."""
    ratio = float(over.mean() / under.mean())
    influence = (over - ratio * under) / under.mean()
    return Estimate(ratio, float(influence.std(ddof=1) / math.sqrt(len(influence))))


def variance_over_draws(values: NDArray[np.float64]) -> Estimate:
    """Unbiased variance of values [draws] with its standard error."""
    moments = Moments()
    moments.add(np.asarray(values, float))
    return moments.variance()


def geometric_mean(values: NDArray[np.float64]) -> Estimate:
    """exp of the mean logarithm of positive values [draws]; se by the delta method. Of a ratio of paired draws: the
    ratio of their geometric means."""
    level = mean_over_draws(np.log(values))
    return Estimate(math.exp(level.value), math.exp(level.value) * level.se)
