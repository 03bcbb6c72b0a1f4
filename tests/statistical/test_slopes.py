"""Coverage of the slope intervals, over five widths, with and without scatter between widths.

Bounds are three Monte-Carlo standard errors around the nominal value, or as stated; seeds are fixed.
"""

import numpy as np
import pytest

from muster.statistics.linear import mean_t, slope_ols, slope_reml_kh, slopes

X = np.log([64, 128, 256, 512, 1024])
SLOPE = -0.1
SEED_SD = 0.05


def draw(rng, tau, draws, seeds=3):
    """Optima in ln(lr), [draws, widths, seeds]: a line, scatter τ between widths, seed noise."""
    between = tau * rng.standard_normal((draws, len(X), 1))
    return SLOPE * X[:, None] + between + SEED_SD * rng.standard_normal((draws, len(X), seeds))


def covers(estimate):
    low, high = estimate.interval()
    return low <= SLOPE <= high


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_ols_t_covers_95_percent(tau):
    means = draw(np.random.default_rng(11), tau, 1500).mean(axis=2)
    share = np.mean([covers(slope_ols(X, y)) for y in means])
    assert 0.935 <= share <= 0.965


@pytest.mark.parametrize(("tau", "low"), [(0.0, 0.90), (0.1, 0.93)])
def test_random_effects_and_hc3_are_acceptable(tau, low):
    draws = draw(np.random.default_rng(12), tau, 500)
    hits = {"hc3": 0, "reml_kh": 0}
    for optima in draws:
        se = np.full(len(X), SEED_SD / np.sqrt(optima.shape[1]))
        found = slopes(X, optima.mean(axis=1), se)
        for name in hits:
            hits[name] += covers(found[name])
    # HC3 errs on the wide side with five points; REML may meet its boundary τ² = 0.
    assert low <= hits["reml_kh"] / len(draws) <= 0.98
    assert 0.93 <= hits["hc3"] / len(draws) <= 0.99


def test_unequal_errors_make_random_effects_sharper_than_least_squares():
    rng = np.random.default_rng(13)
    se = np.array([0.01, 0.01, 0.01, 0.3, 0.01])
    draws = SLOPE * X + se * rng.standard_normal((300, 5))
    found = {"ols_t": [slope_ols(X, y) for y in draws], "reml_kh": [slope_reml_kh(X, y, se) for y in draws]}
    rmse = {name: np.sqrt(np.mean([(fit.estimate - SLOPE) ** 2 for fit in fits])) for name, fits in found.items()}
    assert rmse["reml_kh"] < 0.5 * rmse["ols_t"]


def seed_bootstrap_interval(optima, rng, resamples=400):
    """What muster does not do: percentile interval of the slope under resampling of seeds within widths."""
    widths, seeds = optima.shape
    picks = rng.integers(seeds, size=(resamples, widths, seeds))
    means = np.take_along_axis(optima[None].repeat(resamples, 0), picks, axis=2).mean(axis=2)
    centred = X - X.mean()
    return np.quantile(means @ centred / (centred @ centred), [0.025, 0.975])


def test_a_seed_only_bootstrap_fails_under_scatter_between_widths():
    rng = np.random.default_rng(14)
    draws = draw(rng, 0.1, 500)
    intervals = [seed_bootstrap_interval(optima, rng) for optima in draws]
    share = np.mean([low <= SLOPE <= high for low, high in intervals])
    assert share < 0.5
    assert np.mean([covers(slope_ols(X, optima.mean(axis=1))) for optima in draws]) > 0.92


def test_widths_not_pairs_are_the_replicates_of_an_ordering():
    rng = np.random.default_rng(15)
    pairs = 0.1 * rng.standard_normal((1000, 5, 1)) + 0.05 * rng.standard_normal((1000, 5, 4))

    def share(estimates):
        return np.mean([low <= 0 <= high for low, high in (estimate.interval() for estimate in estimates)])

    assert 0.93 <= share([mean_t(each.mean(axis=1)) for each in pairs]) <= 0.97
    assert share([mean_t(each.ravel()) for each in pairs]) < 0.85
