"""Jacobians on a ring against autograd; their means against the walks counted by hand; a wrong mean refuted."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError

from muster.sampling.graph_jacobian import REFERENCE, JacobianCell, jacobians, path_formula
from muster.sampling.graph_network import ring
from muster.sampling.random_network import gaussian_weights
from tests.statistical.test_regression_laws import decide, probes


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_jacobians_are_those_of_autograd(activation):
    cell = JacobianCell(width=4, depth=3, nodes=5, distance=2, activation=activation, seed=0)
    rng, mix = np.random.default_rng(0), ring(5, 1)
    h, weights = rng.standard_normal((5, 4)), gaussian_weights(rng, 3, 4, 2.0)

    def last(first, layers):
        features = torch.cat([first[None], torch.tensor(h[1:])])
        for weight in weights[:layers]:
            features = torch.tensor(mix) @ features @ torch.tensor(weight)
            features = torch.relu(features) if activation == "relu" else features
        return features

    for layer, found in enumerate(jacobians(cell, mix, h, weights), start=1):
        told = torch.autograd.functional.jacobian(lambda first, n=layer: last(first, n), torch.tensor(h[0]))
        assert_allclose(found, told.numpy().transpose(0, 2, 1), atol=1e-12)


def test_the_formula_counts_walks():
    """To the second neighbour: 1 walk of 2 steps in 9, 3 of 3 in 27; a ring of four has two ways there."""
    cell = JacobianCell(width=8, depth=3, nodes=7, distance=2, weight_variance=3, seed=0)
    assert_allclose(path_formula(cell, ring(7, 1)), [1.5**2 / 9**2, 1.5**3 / 9**2])
    assert path_formula(cell.model_copy(update={"nodes": 4}), ring(4, 1))[0] == pytest.approx(1.5**2 * 4 / 9**2)
    fixed = cell.model_copy(update={"weights": "fixed", "activation": "identity", "width": 2 * REFERENCE})
    assert path_formula(fixed, ring(7, 1))[0] == pytest.approx(6**2 / 9**2)


def test_a_node_further_off_than_layers_or_than_half_the_ring_is_named():
    with pytest.raises(ValidationError, match="4 layers"):
        JacobianCell(width=8, depth=3, seed=0)
    with pytest.raises(ValidationError, match="12 nodes"):
        JacobianCell(width=8, depth=9, distance=6, seed=0)
    assert JacobianCell(width=8, depth=2, reach=2, seed=0).first == 2


def ratios(**settings):
    rows = probes("graph_jacobian", width=24, depth=6, draws=400, **settings)
    return rows[rows["probe"] == "path_ratio"].set_index("layer")


def test_means_are_those_of_the_paths_without_relu_at_every_layer_and_with_it_on_one_path():
    linear, relu = ratios(activation="identity", distance=2, nodes=7), ratios(distance=2, nodes=7)
    assert list(linear.index) == [2, 3, 4, 5, 6]
    assert (abs(linear["value"] - 1) < 4.5 * linear["se"]).all()
    assert (linear["se"] < 0.03).all()
    assert abs(relu["value"][2] - 1) < 4.5 * relu["se"][2] < 0.12
    assert relu["value"][6] + 4.5 * relu["se"][6] < 0.95  # several paths, of different masks
    one = probes("graph_jacobian", width=8, depth=3, distance=2, draws=4).set_index("probe")["value"]
    assert one["one_path_ratio"] == one["path_ratio"].iloc[0]
    rows = probes("graph_jacobian", activation="identity", width=24, depth=2, distance=2, draws=40)
    assert rows.set_index("probe")["value"]["sensitivity"] == pytest.approx(2 / 9, rel=0.1)  # √(V² (1/9)²)


def test_sensitivity_is_that_of_one_network_when_weights_are_those():
    """Positive weights on positive features pass every mask: J = (S^ℓ)_vu W^ℓ, however it is measured."""
    cell = JacobianCell(width=3, depth=2, nodes=5, distance=1, seed=0)
    weight = np.array([[1.0, 2, 0], [0, 1, 1], [3, 0, 1]])
    found = jacobians(cell, ring(5, 1), np.ones((5, 3)), np.stack([weight, weight]))
    assert_allclose(found[1][1], 2 / 9 * weight @ weight)


def test_fixed_weights_raise_the_norm_by_half_a_power_of_width_a_layer_and_the_bounds_power_is_refuted():
    settings = {"depth": 2, "distance": 2, "draws": 60, "weights": "fixed"}
    parts = [probes("graph_jacobian", width=width, **settings) for width in (32, 48, 64, 96)]
    rows = pd.concat(parts)
    rows = rows[rows["probe"] == "spectral_norm"]
    assert decide(rows, "width", 1.0, margin=0.2) == "supported"
    assert decide(rows, "width", 2.0, margin=0.2) == "refuted"
