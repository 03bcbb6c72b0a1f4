"""Hessians of classifiers against differences, and the number of large eigenvalues of planted spectra."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from muster.sampling.cluster_hessian import DECAY, ClusterHessianCell, data, hessian, objective
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
    np.testing.assert_allclose(hessian(weights, x, y)[0], twice - DECAY * eye, atol=1e-8)


def test_a_softmax_shift_of_all_logits_changes_nothing(small):
    """The Hessian has no curvature along equal changes of all output biases."""
    cell, x, y, weights = small
    shift = np.zeros(cell.parameters)
    shift[cell.width * 3 + cell.width :: cell.width + 1] = 1
    assert shift.sum() == 3
    np.testing.assert_allclose(hessian(weights, x, y)[0] @ shift, 0, atol=1e-12)


def test_width_adds_no_large_eigenvalues_and_a_share_of_them_is_refuted():
    rows = pd.concat(probes("cluster_hessian", width=h, clusters=3, draws=3) for h in (4, 8, 16, 32))
    ranks = rows[rows["probe"] == "effective_rank"]
    assert decide(ranks, "width", 1.0, margin=0.3) == "refuted"
    assert (rows[rows["probe"] == "outliers"]["value"].between(1, 4)).all()
    assert (rows[rows["probe"] == "loss"]["value"] < 0.5 * np.log(3)).all()
