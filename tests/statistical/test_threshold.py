"""Coverage of Fieller's interval for a threshold, and of its exponent along an axis."""

import numpy as np
import pytest
from scipy import special

from muster.fitting.estimators.threshold import find_threshold
from muster.statistics.linear import slope_ols


def draw(rng, location, slope, x):
    return (rng.random(len(x)) < special.expit(slope * (x - location))).astype(float)


@pytest.mark.parametrize("slope", [1.5, 4.0])
def test_the_interval_covers_the_threshold(slope):
    rng = np.random.default_rng(31)
    x = np.repeat(np.linspace(-2, 2, 15), 12)
    found = [find_threshold(x, draw(rng, 0.4, slope, x)) for _ in range(800)]
    assert {each.status for each in found} == {"interior"}
    share = np.mean([each.ci[0] <= 0.4 <= each.ci[1] for each in found])
    assert 0.935 <= share <= 0.97
    spread = np.std([each.location for each in found])
    assert np.mean([each.se for each in found]) == pytest.approx(spread, rel=0.1)


def test_the_exponent_is_covered_with_scatter_between_levels():
    rng = np.random.default_rng(32)
    log_width = np.log([32, 64, 128, 256, 512])
    hits, draws = 0, 250
    for _ in range(draws):
        middles = 1.0 + 0.7 * log_width + 0.05 * rng.standard_normal(5)
        levels = []
        for middle in middles:
            x = np.repeat(middle + np.linspace(-2, 2, 11), 8)
            levels.append(find_threshold(x, draw(rng, middle, 3.0, x)).location)
        low, high = slope_ols(log_width, levels).interval()
        hits += low <= 0.7 <= high
    assert 0.92 <= hits / draws <= 0.98


def test_a_linear_trend_is_seldom_invented():
    rng = np.random.default_rng(33)
    x = np.tile(np.linspace(-1, 1, 20), 4)
    statuses = [find_threshold(x, (rng.random(80) < 0.5).astype(float)).status for _ in range(500)]
    assert 0.03 <= np.mean([status == "interior" for status in statuses]) <= 0.08
