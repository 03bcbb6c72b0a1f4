"""The tangent kernel against the gradients of one wide sampled network; its limit against another rule of integration;
random graphs against the graphon; exponents of errors, and wrong ones refuted."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from muster.sampling.graph_kernel import (
    FINE,
    GRAPHONS,
    GraphKernelCell,
    draw_graph,
    eigenvalues,
    graphon_limit,
    limit_kernel,
    midpoints,
    root_mean_square,
    signal,
    tangent_kernel,
)
from tests.statistical.test_regression_laws import decide, probes


def a_graph(nodes=8, **settings):
    cell = GraphKernelCell(nodes=nodes, seed=0, **settings)
    u, shift = draw_graph(cell, np.random.default_rng(0))
    return cell, u, shift


def test_the_kernel_is_that_of_the_gradients_of_a_wide_network():
    """A network of 30,000 units: relative scatter 1/√30,000, times a few."""
    cell, u, shift = a_graph(edges="bernoulli", positions="random", width=2)
    units, torch_shift, x = 30_000, torch.tensor(shift), torch.tensor(signal(u, cell.width))
    torch.manual_seed(0)
    first = torch.randn(3, cell.width, units, dtype=torch.float64, requires_grad=True)
    second = torch.randn(3, units, dtype=torch.float64, requires_grad=True)
    z = sum(torch.linalg.matrix_power(torch_shift, k) @ x @ first[k] for k in range(3)) / (3 * cell.width) ** 0.5
    f = sum(torch.linalg.matrix_power(torch_shift, k) @ torch.relu(z) @ second[k] for k in range(3))
    gradients = [torch.autograd.grad(each / (3 * units) ** 0.5, (first, second), retain_graph=True) for each in f]
    flat = torch.stack([torch.cat([part.ravel() for part in each]) for each in gradients])
    found = tangent_kernel(shift, signal(u, cell.width))[0]
    assert_allclose(found, (flat @ flat.T).numpy(), rtol=0.04)


@pytest.mark.parametrize("graphon", GRAPHONS)
def test_the_limit_is_that_of_another_number_of_points(graphon):
    """Errors N^−2 of half and a quarter of the points, extrapolated, and of Θ at 120 points."""
    coarse = {}
    for nodes in (FINE // 4, FINE // 2):
        u = midpoints(nodes)
        coarse[nodes] = tangent_kernel(GRAPHONS[graphon](u, u) / nodes, signal(u, 3))[0]
    small, large = (eigenvalues(each) for each in coarse.values())
    assert_allclose((4 * large - small) / 3, graphon_limit(graphon, 3)[0], rtol=2e-6)
    cell = GraphKernelCell(nodes=FINE // 2, graphon=graphon, seed=0)
    assert_allclose(coarse[FINE // 2], limit_kernel(cell, midpoints(FINE // 2)), rtol=1e-4)
    assert_allclose(graphon_limit(graphon, 3)[0], np.sort(graphon_limit(graphon, 3)[0])[::-1])


def test_the_limit_at_other_points_is_that_of_a_rule_in_which_they_have_no_weight():
    cell, u, _ = a_graph(positions="random", nodes=5)
    both = np.concatenate([u, midpoints(FINE)])
    weights = np.concatenate([np.zeros(5), np.full(FINE, 1 / FINE)])
    whole = tangent_kernel(GRAPHONS["smooth"](both, both) * weights, signal(both, 3))[0]
    assert_allclose(limit_kernel(cell, u), whole[:5, :5], rtol=1e-7)


def test_random_edges_have_the_graphons_density_and_thinned_ones_a_fixed_degree():
    _, u, shift = a_graph(nodes=300, edges="bernoulli", positions="endpoint")
    assert (u[0], u[-1]) == (1 / 300, 1)
    assert_allclose(shift, shift.T)
    assert sorted(set((300 * shift).ravel())) == [0, 1]
    assert shift.sum() == pytest.approx(GRAPHONS["smooth"](u, u).mean() * 300, rel=0.02)
    thin = a_graph(nodes=300, edges="sparse")[2]
    assert (thin > 0).sum(axis=1).mean() == pytest.approx(8 * GRAPHONS["smooth"](u, u).mean(), rel=0.15)
    assert thin.sum() == pytest.approx(shift.sum(), rel=0.15)
    assert_allclose(a_graph(nodes=4)[2], GRAPHONS["smooth"](midpoints(4), midpoints(4)) / 4)
    assert 0.19 < GRAPHONS["smooth"](midpoints(99), midpoints(99)).min() < 0.22


def test_root_mean_squares_and_their_errors():
    found = root_mean_square(np.random.default_rng(0).standard_normal(40_000) * 3)
    assert found.value == pytest.approx(3, rel=0.02)
    assert found.se == pytest.approx(3 / np.sqrt(80_000), rel=0.05)
    assert np.isnan(root_mean_square(np.array([2.0])).se)


def errors(probe, **settings):
    rows = pd.concat([probes("graph_kernel", nodes=n, **settings) for n in (24, 48, 96, 192)])
    return rows[(rows["probe"] == probe) & (rows["layer"] == 1)]


@pytest.mark.parametrize(("positions", "exponent"), [("midpoint", -2), ("endpoint", -1)])
def test_rules_of_integration_have_their_order_and_another_is_refuted(positions, exponent):
    rows = errors("eigenvalue_error", positions=positions)
    assert decide(rows, "nodes", exponent, margin=0.1) == "supported"
    assert decide(rows, "nodes", exponent + 0.5, margin=0.1) == "refuted"


@pytest.mark.parametrize(
    ("settings", "probe", "exponent"),
    [
        ({"positions": "random", "draws": 200}, "eigenvalue_error", -0.5),
        ({"edges": "bernoulli", "draws": 100}, "eigenvalue_error", -1),
        ({"edges": "bernoulli", "draws": 20}, "kernel_error", -0.5),
        ({"edges": "sparse", "draws": 20}, "kernel_error", 0),
    ],
)
def test_errors_of_random_graphs_fall_with_their_exponents(settings, probe, exponent):
    """To a quarter, half of what would be the next simple exponent."""
    rows = errors(probe, **settings)
    assert np.polyfit(np.log(rows["nodes"]), np.log(rows["value"]), 1)[0] == pytest.approx(exponent, abs=0.25)
