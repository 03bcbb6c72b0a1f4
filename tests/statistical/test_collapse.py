"""Coverage of the collapse exponent with scatter between curves, and the permutation test under its null."""

import numpy as np
import pytest

from muster.fitting.estimators.collapse import CollapseOptions, Curve, permutation_p, positions
from muster.statistics.linear import slope_ols

WIDTHS = np.array([64.0, 128, 256, 512, 1024])
LOG_X = np.arange(-12, -1.9, 1.0) * np.log(2)
OPTIONS = CollapseOptions(over="log2_lr", permutations=100)
EXPONENT = -0.5


def bowl(offset):
    return 0.05 * (np.exp(0.6 * offset) - 0.6 * offset)


def curves(rng, places, noise):
    return [
        Curve(width, LOG_X, bowl(LOG_X + 4.4 - place) + noise * rng.standard_normal(len(LOG_X)), np.nan)
        for width, place in zip(WIDTHS, places, strict=True)
    ]


@pytest.mark.parametrize(("noise", "scatter"), [(3e-3, 0.0), (1e-3, 0.15)])
def test_the_exponent_is_covered(noise, scatter):
    rng = np.random.default_rng(51)
    hits, draws = 0, 120
    for _ in range(draws):
        places = EXPONENT * np.log(WIDTHS / 256) + scatter * rng.standard_normal(5)
        found = positions(curves(rng, places, noise), OPTIONS)
        low, high = slope_ols(np.log(WIDTHS), found).interval()
        hits += low <= EXPONENT <= high
    assert 0.9 <= hits / draws <= 0.99


def test_the_permutation_test_keeps_its_level():
    """Places without any order in s: p ≤ 0.1 no more than one time in ten."""
    rng = np.random.default_rng(52)
    values = np.array([permutation_p(curves(rng, 0.7 * rng.standard_normal(5), 1e-3), OPTIONS) for _ in range(40)])
    assert np.mean(values <= 0.1) <= 0.1 + 2 * np.sqrt(0.09 / len(values))
    assert values.mean() > 0.35
