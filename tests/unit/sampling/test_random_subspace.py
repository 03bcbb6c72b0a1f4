"""Training in subspaces against autograd and training without one, sizes of subspaces against planted accuracies."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from muster.sampling import random_subspace
from muster.sampling.random_subspace import (
    Subspace,
    SubspaceCell,
    crossing,
    first_weights,
    gradient,
    matrices,
    shapes,
    subspace,
    train,
)
from tests.statistical.test_regression_laws import decide, probes

SIZES = shapes(5, 2)


def drawn(images=12, draws=2):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((draws, images, 65)), dtype=torch.float32)
    y = torch.eye(10)[torch.tensor(rng.integers(10, size=(draws, images)))]
    return first_weights(SIZES, draws, rng), x, y


def cross_entropy(theta, x, y):
    """A sum over draws of means over images."""
    h = x
    for k, w in enumerate(matrices(theta, SIZES)):
        h = torch.tanh(h) @ w if k else h @ w
    return -(torch.log_softmax(h, dim=2) * y).sum(dim=2).mean(dim=1).sum()


def cell(**settings):
    return SubspaceCell(**{"width": 5, "depth": 2, "draws": 2, "seed": 0} | settings)


def test_gradients_and_numbers_of_weights_are_those_that_torch_finds():
    theta, x, y = drawn()
    assert theta.shape == (2, 65 * 5 + 25 + 50) == (2, cell().parameters)
    leaf = theta.double().requires_grad_()
    cross_entropy(leaf, x.double(), y.double()).backward()
    np.testing.assert_allclose(gradient(theta.double(), SIZES, x.double(), y.double()), leaf.grad, atol=1e-12)


@pytest.mark.parametrize("directions", ["dense", "first"])
def test_a_subspace_has_unit_directions_and_pulls_what_it_lifts(directions):
    space, rng = subspace(cell(directions=directions), 7, np.random.default_rng(0)), np.random.default_rng(1)
    z, g = (torch.tensor(rng.standard_normal((2, n)), dtype=torch.float32) for n in (7, 400))
    np.testing.assert_allclose((space.lift(z) * g).sum(dim=1), (z * space.pull(g)).sum(dim=1), rtol=1e-4)
    for k in range(7):
        np.testing.assert_allclose(space.lift(torch.eye(7)[[k, k]]).norm(dim=1), 1, rtol=1e-5)


def test_training_is_adam_on_the_coordinates_of_the_subspace(monkeypatch):
    monkeypatch.setattr(random_subspace, "BATCH", 8)
    (theta, x, y), space = drawn(), subspace(cell(), 9, np.random.default_rng(2))
    z, order = torch.zeros(2, 9, requires_grad=True), np.random.default_rng(3)
    adam = torch.optim.Adam([z], lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda update: 1 - update / 6)
    for _ in range(6):
        batch = torch.tensor(order.permutation(12)[:8])
        adam.zero_grad()
        cross_entropy(theta + space.lift(z), x[:, batch], y[:, batch]).backward()
        adam.step()
        schedule.step()
    found = train(theta, cell(updates=6, seed=3), space, 0.1, x, y)
    np.testing.assert_allclose(found, (theta + space.lift(z)).detach(), atol=1e-4)


def test_the_first_weights_of_all_are_all():
    theta, x, y = drawn()
    ways = (subspace(cell(directions="first"), 400, np.random.default_rng(0)), Subspace(400, lambda z: z, lambda g: g))
    ends = [train(theta, cell(updates=30), space, 0.01, x, y) for space in ways]
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_the_size_where_an_accuracy_is_reached_lies_between_two():
    accuracies = np.array([[0.2, 0.9, 0.1], [0.6, 0.95, 0.2], [1.0, 0.99, 0.3]])
    found = crossing([10, 20, 40], accuracies, np.array([0.8, 0.85, 0.5]))
    assert found[0] == pytest.approx(20 * math.sqrt(2))
    assert np.isnan(found[1:]).all()


def test_random_directions_need_as_many_in_wide_networks_and_first_weights_more():
    few = {"samples": 300, "draws": 3, "updates": 60}
    rows = {
        kind: pd.concat(probes("random_subspace", width=n, directions=kind, **few) for n in (16, 24, 36))
        for kind in ("dense", "first")
    }
    sizes = {kind: found[found["probe"] == "intrinsic_dimension"] for kind, found in rows.items()}
    assert decide(sizes["dense"], "width", 1, margin=0.3) == "refuted"
    assert decide(sizes["first"], "width", 0, margin=0.3) == "refuted"
    assert sizes["first"]["value"].iloc[-1] > 2 * sizes["dense"]["value"].iloc[-1]


def test_labels_in_random_order_are_learned_and_not_predicted():
    table = probes("random_subspace", width=8, samples=40, labels="shuffled", draws=2).set_index("probe")["value"]
    assert table["full_accuracy"] > 0.95
    assert 16 < table["intrinsic_dimension"] < 200
