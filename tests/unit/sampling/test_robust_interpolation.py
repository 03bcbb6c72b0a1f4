"""Smallest Lipschitz constants against extensions of functions and the removal of every subset of points."""

import itertools

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.sampling.robust_interpolation import InterpolationCell, separation, smallest_constant, steepest
from tests.statistical.test_regression_laws import decide, probes


def test_the_largest_slope_is_the_constant_of_an_extension_and_nothing_less_is():
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 2)), rng.standard_normal(12)
    constant = steepest(x, y)

    def extension(at, slope):  # McShane's
        return (y + slope * np.linalg.norm(at[:, None] - x, axis=2)).min(axis=1)

    np.testing.assert_allclose(extension(x, constant), y)
    assert np.abs(extension(x, 0.99 * constant) - y).max() > 1e-3
    far = rng.random((200, 2))
    assert steepest(far, extension(far, constant)) <= constant * (1 + 1e-9)


@pytest.mark.parametrize("missed", [0, 1, 2])
def test_the_separation_is_the_best_over_all_subsets_that_may_be_missed(missed):
    for seed in range(12):
        up, down = np.random.default_rng(seed).random((2, 5, 2))
        best = 0.0
        for gone in itertools.combinations(range(10), missed):
            keep = np.setdiff1d(np.arange(10), gone)
            some, others = up[keep[keep < 5]], down[keep[keep >= 5] - 5]
            best = max(best, np.linalg.norm(some[:, None] - others, axis=2).min())
        assert separation(up, down, missed) == pytest.approx(best)


def test_the_constant_grows_like_the_distance_to_the_nearest_point_and_other_exponents_are_refuted():
    rows = pd.concat(
        probes("robust_interpolation", width=2, missed=0.1, samples=n, draws=24) for n in (100, 200, 400, 800, 1600)
    )
    assert decide(rows, "samples", 0.5) == "supported"
    for wrong in (0.25, 1 / 3, 1.0):
        assert decide(rows, "samples", wrong) == "refuted"


def test_every_noisy_label_costs_more_and_smooth_labels_nothing():
    """All pairs: 2/d = 1 in two dimensions; cos πx₁ has a largest slope of π."""
    rows = pd.concat(probes("robust_interpolation", width=2, samples=n, draws=200) for n in (100, 400, 1600))
    slope = np.polyfit(np.log(rows["samples"]), np.log(rows["value"]), 1)[0]
    assert slope == pytest.approx(1, abs=0.1)
    smooth = InterpolationCell(width=2, labels="smooth", samples=400, seed=0)
    assert 0.95 * np.pi < smallest_constant(smooth, np.random.default_rng(0)) < np.pi


def test_smooth_labels_are_all_fitted():
    with pytest.raises(ValidationError, match="missed 0"):
        InterpolationCell(width=2, labels="smooth", missed=0.1, samples=50, seed=0)
