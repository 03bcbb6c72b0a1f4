"""The linear response of one step against a real step, an exact mean where one is known, and the tables."""

import itertools

import numpy as np
import pytest
import torch

from muster.experiments import EXPERIMENTS, Context
from muster.models.graphs import chain, random_graph
from muster.sampling.one_step import OneStepCell, draw_weights, linear_response, sample

GRAPHS = {"chain": chain(4), "dag": random_graph(5, 0.6, 3), "one layer": chain(1)}


def moved(graph, weights, readout, x, y, eta):
    """Change of the last hidden preactivations by one step of rate eta, with autograd, all in float64: [D, B, n]."""
    leaves = {edge: torch.tensor(w, dtype=torch.float64, requires_grad=True) for edge, w in weights.items()}
    a, inputs, target = (torch.tensor(each, dtype=torch.float64) for each in (readout, x, y))

    def preactivations(at):
        h = {0: inputs}
        for node, sources in enumerate(graph, start=1):
            z = sum(h[source] @ at[source, node] for source in sources)
            h[node] = torch.relu(z)
        return z, h[len(graph)]

    before, h = preactivations(leaves)
    loss = 0.5 * (h @ a - target).square().mean(1).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    after, _ = preactivations({e: w - eta * g for (e, w), g in zip(leaves.items(), gradients, strict=True)})
    return (after - before).detach().numpy()


@pytest.mark.parametrize(("graph", "batch"), [*itertools.product(GRAPHS, [1, 3])])
def test_the_response_is_the_derivative_of_a_step(graph, batch):
    rng = np.random.default_rng(5)
    weights, readout = draw_weights(GRAPHS[graph], 3, 12, 5, rng)
    weights = {edge: w.astype(np.float64) for edge, w in weights.items()}
    x, y = rng.standard_normal((3, batch, 5)), rng.choice([-1.0, 1.0], (3, batch, 1))
    found = linear_response(GRAPHS[graph], weights, readout.astype(np.float64), x, y)
    eta = 1e-7
    expected = moved(GRAPHS[graph], weights, readout, x, y, eta) / eta
    assert np.abs(expected).max() > 1e-3
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5 * np.abs(expected).max())


def test_weights_have_the_variance_of_their_node_and_the_readout_that_of_mean_field():
    graph = ((0,), (1,), (1, 2))
    weights, readout = draw_weights(graph, 200, 32, 16, np.random.default_rng(0))
    expected = {(0, 1): 1 / 16, (1, 2): 2 / 32, (1, 3): 1 / 32, (2, 3): 1 / 32}
    assert set(weights) == set(expected)
    for edge, variance in expected.items():
        assert weights[edge].var() == pytest.approx(variance, rel=0.02)
    assert readout.var() == pytest.approx(1 / 32**2, rel=0.05)


def test_one_layer_moves_as_its_exact_mean():
    """z = Wx: Δ = −(f − y) φ'(z) a ‖x‖² with ‖x‖² = Σ x²; at large n, f is small against y = ±1, and E Δ² over units is
    (‖x‖²)²/(2n²) for one example."""
    cell = OneStepCell(width=512, seed=0, depth=1, draws=400, inputs=64)
    found = sample(cell, np.random.default_rng(1)).mean() * 2 * 512**2
    assert found == pytest.approx(64**2 + 2 * 64, rel=0.1)


def test_the_tables_hold_the_rate_and_the_paths_of_the_graph():
    experiment = EXPERIMENTS["one_step"]
    cell = OneStepCell(width=16, depth=4, seed=2, edge_density=1.0, draws=10)
    found = experiment.run(cell, Context(progress=lambda text: None))
    run, probe = found.runs.iloc[0], found.probes.iloc[0]
    assert run["one_step_rate"] == pytest.approx(probe["value"] ** -0.5)
    assert run["paths"] == 4  # the layers 2 and 3 may each be passed or not
    assert run["path_rate"] == pytest.approx((2**3 + 2 * 3**3 + 4**3) ** -0.5)
    assert (probe["probe"], probe["layer"]) == ("squared_update", 4)
    assert set(experiment.brings(cell)) <= set(found.runs.columns)


def test_numbers_repeat_and_do_not_depend_on_how_draws_are_cut(monkeypatch):
    cell = OneStepCell(width=16, depth=3, seed=0, draws=12)
    assert (sample(cell, np.random.default_rng(7)) == sample(cell, np.random.default_rng(7))).all()
    monkeypatch.setattr("muster.sampling.one_step.HELD_ENTRIES", 1)
    assert len(sample(cell, np.random.default_rng(7))) == 12
