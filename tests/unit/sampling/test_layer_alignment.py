"""Alignment of a hidden layer against planted matrices and autograd, training against torch's own gradients."""

import numpy as np
import pytest
import torch

from muster.sampling import layer_alignment
from muster.sampling.layer_alignment import MOMENTUM, LayerAlignmentCell, alignments, covariance, traceless, train
from muster.sampling.random_subspace import first_weights, matrices, shapes
from tests.statistical.test_regression_laws import probes

SIZES = shapes(6, 2)


def drawn(images=40, draws=2):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((draws, images, 65)))
    y = torch.eye(10, dtype=torch.float64)[torch.tensor(rng.integers(10, size=(draws, images)))]
    return first_weights(SIZES, draws, rng).double(), x, y


def outputs(weights, x):
    """All layers' preactivations."""
    z = [x @ weights[0]]
    for w in weights[1:]:
        z.append(torch.tanh(z[-1]) @ w)
    return z


def test_matrices_without_trace_have_cosines_that_shifts_and_scales_leave_alone():
    square = torch.tensor(np.random.default_rng(0).standard_normal((2, 4, 4)))
    square = square + square.mT
    found = traceless(square)
    np.testing.assert_allclose(found, traceless(3 * square + 5 * torch.eye(4)), atol=1e-12)
    np.testing.assert_allclose(found.diagonal(dim1=1, dim2=2).sum(dim=1), 0, atol=1e-12)
    np.testing.assert_allclose((found * found).sum(dim=(1, 2)), 1)
    np.testing.assert_allclose(covariance(square)[1], np.cov(square[1].numpy(), rowvar=False, bias=True))


def test_the_pairs_are_those_of_activations_gradients_and_weights():
    """Gradients by autograd, cosines one by one."""
    theta, x, y = drawn()
    weights = matrices(theta, SIZES)
    found = alignments(weights, x, y)
    h_a = torch.tanh(x[1] @ weights[0][1]).detach().requires_grad_()
    h_b = h_a @ weights[1][1]
    h_b.retain_grad()
    loss = -(torch.log_softmax(torch.tanh(h_b) @ weights[2][1], dim=1) * y[1]).sum()
    loss.backward()
    w = weights[1][1].numpy()
    a = {"h": np.cov(h_a.detach().numpy().T), "g": np.cov(h_a.grad.numpy().T), "w": w @ w.T}
    b = {"h": np.cov(h_b.detach().numpy().T), "g": np.cov(h_b.grad.numpy().T), "w": w.T @ w}

    def cosine(one, other):
        one, other = (each - np.trace(each) / 6 * np.eye(6) for each in (one, other))
        return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())

    for k, (one, other) in enumerate((("h", "g"), ("g", "w"), ("h", "w"))):
        assert found[1, k] == pytest.approx(cosine(b[one], b[other]))
        assert found[1, 3 + k] == pytest.approx(cosine(a[one], a[other]))


def test_training_is_descent_with_momentum_and_decay():
    theta, x, y = (each.float() for each in drawn())
    cell = LayerAlignmentCell(width=6, decay=0.1, batch_size=5, steps=8, draws=2, seed=0)
    found = train(cell, theta, x, y, np.random.default_rng(1))
    leaf, velocity, rng = theta.clone().requires_grad_(), torch.zeros_like(theta), np.random.default_rng(1)
    for _ in range(8):
        batch = torch.tensor(rng.integers(40, size=5))
        log_p = torch.log_softmax(outputs(matrices(leaf, SIZES), x[:, batch])[-1], dim=2)
        slope = torch.autograd.grad(-(log_p * y[:, batch]).sum() / 5, leaf)[0] + 0.1 * leaf.detach()
        velocity = MOMENTUM * velocity + slope
        leaf = (leaf.detach() - 0.05 * velocity).requires_grad_()
    np.testing.assert_allclose(found, leaf.detach(), atol=1e-5)
    assert not torch.equal(found, theta)


def test_random_weights_relate_the_two_pairs_that_are_related_at_any_weights_and_training_all():
    table = probes("layer_alignment", width=24, draws=2, steps=1500, decay=3e-3)
    value = table.set_index(["probe", "layer"])["value"]
    first, last = (value[name].to_numpy() for name in ("first_alignment", "alignment"))
    related = np.setdiff1d(range(6), layer_alignment.FREE)
    assert (first[related] > 0.25).all()
    assert (np.abs(first[layer_alignment.FREE]) < 0.2).all()
    assert last[layer_alignment.FREE].mean() == pytest.approx(value["mean_alignment", 1])
    assert value["mean_alignment", 1] > value["first_mean_alignment", 1] + 0.3
    assert value["least_rise", 1] <= (last - first).min() + 1e-9
