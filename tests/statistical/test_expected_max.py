"""Bias and coverage of the expected best of n draws."""

import numpy as np
import pytest

from muster.fitting.estimators.expected_max import best_of, expected_best

TOTAL, DRAWS = 40, 8


def test_coverage_and_bias_on_skewed_losses():
    """Losses of a random search: exponential above the best that can be had, so that E[min of n] = 1/n."""
    rng = np.random.default_rng(41)
    hits, repeats = 0, 800
    estimates = {"u_statistic": [], "plug_in": []}
    for _ in range(repeats):
        losses = rng.exponential(size=TOTAL)
        for variant, found in estimates.items():
            _, best, _ = best_of(losses, DRAWS, variant, lowest=True)
            found.append(best.estimate)
            low, high = best.interval()
            hits += variant == "u_statistic" and low <= 1 / DRAWS <= high
    error = np.std(estimates["u_statistic"]) / np.sqrt(repeats)
    assert abs(np.mean(estimates["u_statistic"]) - 1 / DRAWS) < 3 * error
    assert np.mean(estimates["plug_in"]) - 1 / DRAWS > 3 * error  # against the search: losses too high
    assert 0.91 <= hits / repeats <= 0.98


@pytest.mark.parametrize("draws", [2, 5, 20])
def test_unbiased_for_any_number_of_draws(draws):
    rng = np.random.default_rng(42)
    samples = rng.lognormal(size=(4000, 24))
    truth = rng.lognormal(size=(200_000, draws)).max(axis=1)
    found = np.array([expected_best(values, draws, "u_statistic") for values in samples])
    error = np.hypot(found.std() / np.sqrt(len(found)), truth.std() / np.sqrt(len(truth)))
    assert abs(found.mean() - truth.mean()) < 3 * error
