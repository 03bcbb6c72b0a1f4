"""Weights of order statistics that give the expected largest of n draws from N values."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@cache
def u_statistic_weights(total: int, draws: int) -> Array:
    """Weights [total] of the ascending order statistics: C(i − 1, n − 1) / C(N, n), i = 1…N.

    The mean of the largest of n over all subsets of n of the N values, hence unbiased for independent draws (Tang et
    al. 2020, Section 3; a U-statistic, Hoeffding 1948). Raises a ValueError when n > N.
    """
    from scipy.special import gammaln

    if draws > total:
        raise ValueError(f"the best of {draws} draws needs at least as many values, not {total}")
    i = np.arange(draws, total + 1)
    logs = (gammaln(i) - gammaln(draws) - gammaln(i - draws + 1)) - (
        gammaln(total + 1) - gammaln(draws + 1) - gammaln(total - draws + 1)
    )
    return np.concatenate([np.zeros(draws - 1), np.exp(logs)])


@cache
def plug_in_weights(total: int, draws: int) -> Array:
    """Weights [total] of the ascending order statistics: (i/N)ⁿ − ((i − 1)/N)ⁿ.

    The expected largest of n draws *with replacement* from the values (Dodge et al. 2019, Eq. 7): a value may be drawn
    twice, which biases it against the search.
    """
    return np.diff((np.arange(total + 1) / total) ** draws)


WEIGHTS = {"u_statistic": u_statistic_weights, "plug_in": plug_in_weights}
