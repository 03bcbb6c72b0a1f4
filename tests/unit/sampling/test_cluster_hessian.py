"""Hessians of classifiers against differences, and the number of large eigenvalues of planted spectra."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from muster.sampling.cluster_hessian import DECAY, ClusterHessianCell, data, hessian, large, objective
from tests.statistical.test_regression_laws import decide, probes


@pytest.fixture
def small():
    cell = ClusterHessianCell(width=3, clusters=3, features=2, samples=12, seed=0)
    return cell, *data(cell, np.random.default_rng(0)), np.random.default_rng(1).standard_normal(cell.parameters)


def test_gradients_and_hessians_are_those_of_differences(small):
    _, x, y, weights = small
    gradient = objective(weights, x, y)[1]
    numeric = optimize.approx_fprime(weights, lambda w: objective(w, x, y)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)
    eps, eye = 1e-5, np.eye(len(weights))
    twice = [(objective(weights + eps * e, x, y)[1] - objective(weights - eps * e, x, y)[1]) / (2 * eps) for e in eye]
    np.testing.assert_allclose(hessian(weights, x, y), twice - DECAY * eye, atol=1e-8)


def test_a_softmax_shift_of_all_logits_changes_nothing(small):
    """The Hessian has no curvature along equal changes of all output biases."""
    cell, x, y, weights = small
    shift = np.zeros(cell.parameters)
    shift[cell.width * 3 + cell.width :: cell.width + 1] = 1
    assert shift.sum() == 3
    np.testing.assert_allclose(hessian(weights, x, y) @ shift, 0, atol=1e-12)


def test_large_sizes_are_the_upper_group_of_the_best_split_and_planted_ones_are_found():
    rng = np.random.default_rng(0)
    for outliers in (1, 3, 7):
        sizes = np.sort(np.append(rng.uniform(0.5, 1, outliers), 0.1 * rng.random(200)))[::-1]
        within = [np.var(sizes[:m]) * m + np.var(sizes[m:]) * (len(sizes) - m) for m in range(1, len(sizes))]
        assert large(sizes) == 1 + np.argmin(within) == outliers


def test_width_adds_no_large_eigenvalues_and_clusters_do():
    few = {"samples": 120, "features": 5, "draws": 2}
    by_width = pd.concat(probes("cluster_hessian", width=h, clusters=4, **few) for h in (5, 8, 14))
    by_clusters = pd.concat(probes("cluster_hessian", width=8, clusters=k, **few) for k in (2, 8))
    widths, clusters = (rows[rows["probe"] == "large"] for rows in (by_width, by_clusters))
    assert decide(widths, "width", 1.0, margin=0.3) == "refuted"
    assert clusters["value"].iloc[-1] > 1.5 * clusters["value"].iloc[0]
    assert (by_width[by_width["probe"] == "loss"]["value"] < 0.5 * np.log(4)).all()
