"""One step of gradient descent on random ReLU networks: how far the last hidden layer moves.

Mean-field initialization: hidden weights of variance 2/(d_in·n), where a layer sums over d_in others (a chain has
d_in = 1), readout of variance 1/n². One step of rate η on the squared error ½(f − y)² of B examples changes the last
hidden preactivations by η Δ + O(η²). With gradients δ_v hᵀ_u of the matrices, the exact linear response is one more
forward pass beside the network's own,

    Δ_v = Σ_u W_uv [φ'(z_u) Δ_u] − δ_v (h_uᵀ h_u)        over the layers u that v reads,

at the price of three matrix products a weight. S. Jelassi, B. Hanin, Z. Ji, S. Reddi, S. Bhojanapalli and S. Kumar
(2023): E Δ² ∝ L³ for a chain of L layers, at any width, so that the rate at which Δ is of size 1 falls as L^−3/2;
W. Chen, J. Wu, Z. Wang and B. Hanin (2024): it is ∝ (Σ_paths L_p³)^−½ for any graph. Fluctuations are of order
e^{O(L/n)}: means over draws are geometric, and laws of depth are read at L ≤ n/8.

Probe `squared_update` (layer = depth): geometric mean over draws of the mean of Δ² over units and examples. The run
also brings `one_step_rate`, its −½ power, `path_rate` = (Σ_paths L_p³)^−½ and `paths`, their number.
"""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Example, Experiment, Outcome
from muster.models.graphs import Graph, graph_of, path_lengths, path_rate
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import Array, generator
from muster.sampling.tables import outcome

BROUGHT = ("one_step_rate", "path_rate", "paths")
HELD_ENTRIES = 8_000_000  # weights held at a time
SECONDS_PER_WEIGHT = 2.5e-8  # to draw it and to use it in three products, on one core


class OneStepCell(Cell):
    """One width, depth and graph of a random network; the seed draws the graph, too."""

    edge_density: float | None = Field(
        None, ge=0, le=1, description="Share of the pairs of hidden layers that are joined; a chain if absent"
    )
    batch_size: int = Field(1, ge=1, le=256, description="Examples of the step, independent normal inputs")
    inputs: int = Field(64, ge=1, le=10**5, description="Input dimension")
    draws: int = Field(40, ge=2, le=10**6, description="Random networks sampled")


Weights = dict[tuple[int, int], Array]


def draw_weights(graph: Graph, count: int, width: int, inputs: int, rng: np.random.Generator) -> tuple[Weights, Array]:
    """Matrices (source, node) → [D, fan_in, n] of `count` networks, and their readouts [D, n, 1]."""
    weights: Weights = {}
    for node, sources in enumerate(graph, start=1):
        for source in sources:
            fan_in = width if source else inputs
            variance = (2.0 if source else 1.0) / (len(sources) * fan_in)
            weights[source, node] = rng.standard_normal((count, fan_in, width), dtype=np.float32)
            weights[source, node] *= np.float32(math.sqrt(variance))
    return weights, rng.standard_normal((count, width, 1), dtype=np.float32) / np.float32(width)


def linear_response(graph: Graph, weights: Weights, readout: Array, x_DxBxI: Array, y_DxBx1: Array) -> Array:
    """Δ of the last hidden preactivations per unit of the rate: [D, B, n]. The readout's own step does not enter."""
    h = [x_DxBxI]
    z = [x_DxBxI]
    for node, sources in enumerate(graph, start=1):
        z.append(np.sum([h[source] @ weights[source, node] for source in sources], axis=0))
        h.append(np.maximum(z[node], 0))
    examples = y_DxBx1.shape[1]
    backward: list[Array | float] = [0.0] * len(h)
    backward[-1] = (h[-1] @ readout - y_DxBx1) / examples * np.swapaxes(readout, 1, 2)
    for node in range(len(graph), 0, -1):
        backward[node] = backward[node] * (z[node] > 0)
        for source in graph[node - 1]:
            if source:
                backward[source] = backward[source] + backward[node] @ np.swapaxes(weights[source, node], 1, 2)
    change: list[Array] = [np.zeros_like(x_DxBxI)]
    for node, sources in enumerate(graph, start=1):
        moved = [(change[source] * (z[source] > 0)) @ weights[source, node] for source in sources]
        gram = np.sum([h[source] @ np.swapaxes(h[source], 1, 2) for source in sources], axis=0)
        change.append(np.sum(moved, axis=0) - gram @ backward[node])
    return change[-1]


def sample(cell: OneStepCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """Mean of Δ² over units and examples of every draw: [draws]. Targets are ±1."""
    graph = graph_of(cell.depth, cell.edge_density, cell.seed)
    found = []
    size = max(1, HELD_ENTRIES // _weights(cell))
    for start in range(0, cell.draws, size):
        count = min(size, cell.draws - start)
        weights, readout = draw_weights(graph, count, cell.width, cell.inputs, rng)
        x = rng.standard_normal((count, cell.batch_size, cell.inputs), dtype=np.float32)
        y = rng.choice(np.array([-1, 1], np.float32), (count, cell.batch_size, 1))
        response = linear_response(graph, weights, readout, x, y)
        found.append(np.square(response, dtype=np.float64).mean(axis=(1, 2)))
    return np.concatenate(found)


def _weights(cell: OneStepCell) -> int:
    """Entries of the matrices of one network."""
    edges = sum(map(len, graph_of(cell.depth, cell.edge_density, cell.seed))) - 1
    return cell.width * (cell.inputs + edges * cell.width)


def cost(cell: OneStepCell) -> Cost:
    """Drawing the weights, and three products with each."""
    entries = float(cell.draws) * _weights(cell)
    held = min(entries, max(HELD_ENTRIES, _weights(cell)))
    return Cost(6.0 * cell.batch_size * entries, SECONDS_PER_WEIGHT * entries, 2e8 + 8.0 * held)


def run(cell: OneStepCell, context: Context) -> Outcome:
    """Sample the networks; cells with different settings use independent random numbers."""
    update = geometric_mean(sample(cell, generator(cell)))
    graph = graph_of(cell.depth, cell.edge_density, cell.seed)
    found = outcome([(0, "squared_update", cell.depth, *update)], flops=cost(cell).flops)
    runs = found.runs.assign(
        one_step_rate=update.value**-0.5, path_rate=path_rate(graph), paths=float(path_lengths(graph).total())
    )
    return Outcome(runs, found.curves, found.probes)


EXPERIMENTS.register("one_step")(
    Experiment(
        summary="One gradient step on random ReLU networks: how far the last hidden layer moves",
        stage="sample",
        cell=OneStepCell,
        cost=cost,
        run=run,
        brings=lambda cell: BROUGHT,
        example=Example(
            {"width": 128, "inputs": 64, "draws": 400},
            [{"depth": [4, 6, 8], "edge_density": 0.5, "seeds": 4}],
            {"estimator": "power_law", "table": "runs", "response": "one_step_rate", "along": "path_rate"},
            smoke={"width": 32, "draws": 20},
            predicted=1,
        ),
    )
)
