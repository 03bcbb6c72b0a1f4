"""Adversarial errors against exact distances to a linear boundary, and gradients against differences."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from muster.sampling.adversarial_error import AdversarialErrorCell, examples, fooled, linear_loss, trained
from tests.statistical.test_regression_laws import decide, probes


@pytest.fixture(scope="module")
def clusters():
    cell = AdversarialErrorCell(width=8, inputs="clusters", samples=60, seed=0)
    return cell, *examples(cell, np.random.default_rng(0))


@pytest.mark.parametrize("model", ["linear", "network"])
def test_gradients_are_those_of_differences(clusters, model):
    cell, x, y = clusters
    classifier = trained(cell.model_copy(update={"model": model}), x[:60], y[:60], np.random.default_rng(0))
    at, labels = x[60:64], y[60:64]

    def loss(moved):
        return -np.log((classifier(moved)[0] * labels).sum(axis=1))

    gradient = classifier(at)[1](labels)
    for j in (0, 40):
        step = np.zeros(at.shape[1])
        step[j] = 1e-5
        np.testing.assert_allclose(gradient[:, j], (loss(at + step) - loss(at - step)) / 2e-5, atol=1e-6)


def test_two_linear_classes_are_fooled_at_their_distance_in_the_largest_norm():
    rng = np.random.default_rng(0)
    matrix, x = rng.standard_normal((2, 6)), np.hstack([rng.standard_normal((400, 5)), np.ones((400, 1))])

    def linear(at):
        p = special.softmax(at @ matrix.T, axis=1)
        return p, lambda labels: (p - labels) @ matrix[:, :-1]

    y = np.eye(2)[(rng.random(400) < 0.5).astype(int)]
    right = (x @ matrix.T).argmax(axis=1) == y.argmax(axis=1)
    gap = np.abs(x @ (matrix[1] - matrix[0])) / np.abs(matrix[0] - matrix[1])[:-1].sum()
    for perturbation in (0.01, 0.1, 1.0):
        near = gap < perturbation
        assert fooled(linear, x, y, perturbation) == (near[right].mean(), near.mean())


def test_linear_training_descends_its_loss_to_a_point_without_gradient(clusters):
    _, x, y = clusters
    rng = np.random.default_rng(1)
    weights, direction = rng.standard_normal((2, 10 * x.shape[1]))
    ends = [linear_loss(weights + sign * 1e-5 * direction, x, y)[0] for sign in (1, -1)]
    assert linear_loss(weights, x, y)[1] @ direction == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_labels_in_random_order_are_learned_and_inputs_have_unit_size():
    cell = AdversarialErrorCell(width=24, samples=60, seed=0)
    x, y = examples(cell, np.random.default_rng(0))
    assert x[:, :-1].std() == pytest.approx(1)
    assert (x[:, -1] == 1).all()
    assert len(x) > 1700
    classifier = trained(cell, x[:60], y[60:120], np.random.default_rng(0))
    assert (classifier(x[:60])[0].argmax(axis=1) == y[60:120].argmax(axis=1)).all()


def test_exponents_of_two_and_zero_are_refuted():
    sizes = (0.01, 0.02, 0.04, 0.08)
    rows = pd.concat(
        probes("adversarial_error", width=1, model="linear", inputs="clusters", samples=200, perturbation=e, draws=20)
        for e in sizes
    )
    rows = rows[rows["probe"] == "changed"]
    assert (np.diff(rows["value"]) > 0).all()
    for wrong in (0.0, 2.0):
        assert decide(rows, "perturbation", wrong, margin=0.15) == "refuted"
