"""XOR clusters against gradient descent on whole weight matrices by autograd, and against their labels."""

import numpy as np
import pytest
import torch

from muster.sampling import xor_clusters
from muster.sampling.xor_clusters import FLIPS, UNITS, XorClustersCell, accuracies, clusters
from tests.statistical.test_regression_laws import probes


def test_labels_follow_the_clusters():
    x, labels = clusters(XorClustersCell(width=5, signal=10_000, seed=0), 400, np.random.default_rng(0))
    assert ((np.abs(x[:, 0]) > 50) == (labels == 1)).all()
    assert ((np.abs(x[:, 1]) > 50) == (labels == -1)).all()
    assert 0.4 < (x[labels == 1, 0] > 0).mean() < 0.6


def test_accuracies_are_those_of_gradient_descent_by_autograd(monkeypatch):
    monkeypatch.setattr(xor_clusters, "INITIAL", 0.1)
    cell = XorClustersCell(width=30, samples=12, signal=20, rate=0.5, steps=8, seed=0)
    found = accuracies(cell, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    x, labels = clusters(cell, cell.samples, rng)
    labels = np.where(rng.random(cell.samples) < FLIPS, -labels, labels)
    new, truth = clusters(cell, xor_clusters.TESTS, rng)
    weights = torch.from_numpy(0.1 * rng.standard_normal((UNITS, 30), dtype=np.float32)).double().requires_grad_()
    readout = torch.from_numpy(rng.choice([-1.0, 1.0], UNITS) / UNITS**0.5)
    inputs, y = torch.from_numpy(x).double(), torch.from_numpy(labels)
    expected = []
    for step in range(1, 9):
        loss = torch.nn.functional.softplus(-y * (torch.relu(inputs @ weights.T) @ readout)).mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        weights = (weights - cell.rate * gradient).detach().requires_grad_()
        if step in cell.looks:
            both = ((inputs, labels), (torch.from_numpy(new).double(), truth))
            signs = [((torch.relu(a @ weights.T) @ readout).detach().numpy() * b > 0).mean() for a, b in both]
            expected.append(signs)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_one_step_memorizes_and_more_generalize_unless_clusters_are_too_weak():
    strong, weak = (
        probes("xor_clusters", width=2000, samples=30, signal=signal, draws=4, steps=64).set_index(["probe", "step"])
        for signal in (200, 20)
    )
    assert strong.loc[("train_accuracy", 1), "value"] > 0.99
    assert strong.loc[("test_accuracy", 1), "value"] == pytest.approx(0.5, abs=0.15)
    assert strong.loc[("test_accuracy", 64), "value"] > 0.85
    assert weak.loc[("test_accuracy", 64), "value"] < 0.7
