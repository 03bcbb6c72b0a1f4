"""Random ReLU graph networks: the size of the features and the likeness of the nodes against depth.

Node features H [T nodes, n units] pass H_ℓ = φ(A H_{ℓ−1} W_ℓ) with weights of variance C_W/n and a fixed aggregator
A. G. DeZoort and B. Hanin, Principles for initialization and architecture selection in graph neural networks with
ReLU activations (2023), show that C_W = 2 alone keeps features and gradients of order one in depth, that every fixed
aggregator makes all nodes alike (oversmoothing), and that residual aggregators (1 − ε) I + ε A and residual branches
relieve it. The rates below are derived here.

- Size. The columns of the next preactivations are N(0, (C_W/n) A H Hᵀ Aᵀ) given H, so that E‖H_ℓ‖² = (C_W/2) ‖A
  H_{ℓ−1}‖². `size` multiplies means of this conditional mean instead of ‖H_ℓ‖² (Rao–Blackwell), which is a product
  with variance (1 + 5/n)^ℓ − 1, whereas ‖A H‖²/‖H‖² is close to 1. Features are rescaled to unit mean square in every
  layer, as the positive homogeneity of ReLU allows; the mean of the product is then the product of the means, exactly
  once nodes are alike, when the factors are independent. `size_factor` is measured without that formula.
- Likeness. Where nodes are alike, ReLU passes their differences on with an unchanged mean size (all nodes share one
  mask), and A shrinks them by its second-largest eigenvalue λ in absolute value: `dispersion`, 1 − mean cosine, falls
  by λ² a layer. With ε/depth for ε the aggregator takes only a constant factor away over the whole depth, and the
  ReLU correlation map ρ → ρ + (2√2/3π)(1 − ρ)^{3/2} (Y. Cho and L. Saul, Kernel methods for deep learning, 2009)
  leaves a dispersion whose exponent in depth tends to −2. A branch H + depth^{−1/2} φ(A H W) V, as in fixup, leaves
  one of order one.

The logarithm of the dispersion is averaged over draws: the masks make it a random walk with a variance of order ℓ/n.
Probes at layer ℓ: `size`, E‖H_ℓ‖²/E‖H_0‖²; `size_factor`, the mean of ‖H_ℓ‖²/‖H_{ℓ−1}‖²; `dispersion` (geometric
mean) and `dispersion_factor`; `gap_factor`, dispersion_factor/λ². At layer `depth` alone: `final_dispersion`.
"""

import itertools
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import ACTIVATIONS, Array, chunks, dispersion, gaussian_weights, generator
from muster.sampling.tables import Estimate, Row, outcome, probe_rows

SECONDS_PER_WEIGHT = 4e-8


class GraphCell(Cell):
    """One width and depth of a random graph network."""

    graph: Literal["ring", "erdos"] = Field("ring", description="ring: each node sees `reach` nodes on either side")
    nodes: int = Field(32, ge=4, le=1000, description="Nodes of the graph")
    reach: int = Field(8, ge=1, le=500, description="Half the mean degree of the graph")
    epsilon: float = Field(1.0, gt=0, le=1, description="ε of the aggregator (1 − ε) I + ε A")
    per_depth: bool = Field(False, description="Divide ε by the depth")
    branch: bool = Field(False, description="Residual branches H + depth^(−1/2) φ(A H W) V instead of plain layers")
    weight_variance: float = Field(2.0, gt=0, le=100, description="C_W: fan-in times the variance of a weight")
    draws: int = Field(32, ge=2, le=10**5, description="Random networks sampled")


def ring(nodes: int, reach: int) -> NDArray[np.float64]:
    """Mean over a node and `reach` neighbours on either side: [T, T], with eigenvalues (1 + 2 Σ_m cos(2πjm/T))/(2
    reach + 1)."""
    gap = np.abs(np.arange(nodes)[:, None] - np.arange(nodes))
    near = np.minimum(gap, nodes - gap) <= reach
    return near / near.sum(axis=1, keepdims=True)


def erdos(nodes: int, reach: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """D^{−1/2} (A + I) D^{−1/2} of a random graph with independent edges and mean degree 2 reach: [T, T], symmetric
    with largest eigenvalue 1 (T. Kipf and M. Welling, Semi-supervised classification with graph convolutional
    networks, 2017).
    """
    edge = np.triu(rng.random((nodes, nodes)) < 2 * reach / (nodes - 1), 1)
    linked = (edge | edge.T | np.eye(nodes, dtype=bool)).astype(float)
    degree = linked.sum(axis=1)
    return np.asarray(linked / np.sqrt(np.outer(degree, degree)))


GRAPHS = {"ring": lambda nodes, reach, rng: ring(nodes, reach), "erdos": erdos}


def aggregator(cell: GraphCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """(1 − ε) I + ε A [T, T], with ε/depth for ε where the cell says so."""
    epsilon = cell.epsilon / cell.depth if cell.per_depth else cell.epsilon
    return np.asarray((1 - epsilon) * np.eye(cell.nodes) + epsilon * GRAPHS[cell.graph](cell.nodes, cell.reach, rng))


def second_eigenvalue(aggregator_TxT: NDArray[np.float64]) -> float:
    """Second-largest absolute eigenvalue of a symmetric aggregator."""
    return float(np.sort(np.abs(np.linalg.eigvalsh(aggregator_TxT)))[-2])


def _layer(cell: GraphCell, mixed: Array, h: Array, rng: np.random.Generator) -> Array:
    relu = ACTIVATIONS["relu"].value
    inner = relu(mixed @ gaussian_weights(rng, len(h), cell.width, cell.weight_variance))
    if not cell.branch:
        return inner
    return h + inner @ gaussian_weights(rng, len(h), cell.width) / np.sqrt(cell.depth)


def sample_layers(
    cell: GraphCell, aggregator_TxT: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """‖A H_{ℓ−1}‖²/‖H_{ℓ−1}‖² and ‖H_ℓ‖²/‖H_{ℓ−1}‖² [depth, draws]; dispersion of H_0 … H_depth [depth + 1, draws]."""
    parts = []
    for count in chunks(cell.draws, cell.width * (cell.width + cell.nodes)):
        h: Array = rng.standard_normal((count, cell.nodes, cell.width))
        kept, grown, spread = [], [], [dispersion(h)]
        for _ in range(cell.depth):
            h /= np.sqrt(np.square(h).mean(axis=(1, 2), keepdims=True))
            mixed = aggregator_TxT @ h
            kept.append(np.square(mixed).mean(axis=(1, 2)))
            h = _layer(cell, mixed, h, rng)
            grown.append(np.square(h).mean(axis=(1, 2)))
            spread.append(dispersion(h))
        parts.append([np.array(kept), np.array(grown), np.array(spread)])
    kept_LxD, grown_LxD, spread_LxD = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return kept_LxD, grown_LxD, spread_LxD


def expected_factors(cell: GraphCell, kept_LxD: NDArray[np.float64]) -> list[Estimate]:
    """Mean growth of ‖H‖² in each layer by its conditional mean: C_W/2 times what the aggregator keeps; with branches
    1 plus that over the depth, as the branch's second matrix is independent of H."""
    found = []
    for kept in kept_LxD:
        scale = cell.weight_variance / 2 / (cell.depth if cell.branch else 1)
        share = mean_over_draws(kept)
        found.append(Estimate(scale * share.value + (1.0 if cell.branch else 0.0), scale * share.se))
    return found


def cumulated(factors: list[Estimate]) -> list[Estimate]:
    """Products of the first ℓ factors; relative errors are added as if fully correlated, since draws are shared."""
    values = np.cumprod([factor.value for factor in factors])
    relative = np.cumsum([factor.se / factor.value for factor in factors])
    return [Estimate(float(value), float(value * error)) for value, error in zip(values, relative, strict=True)]


def cost(cell: GraphCell) -> Cost:
    """Normal numbers for the weights, and the products with them."""
    weights = cell.draws * cell.width**2 * cell.depth * (2.0 if cell.branch else 1.0)
    return Cost(2 * cell.nodes * weights, SECONDS_PER_WEIGHT * weights, 3e8)


def run(cell: GraphCell, context: Context) -> Outcome:
    """Sample the networks; a random graph is drawn once a cell."""
    rng = generator(cell)
    matrix = aggregator(cell, rng)
    kept, grown, spread = sample_layers(cell, matrix, rng)
    falls = [geometric_mean(after / before) for before, after in itertools.pairwise(spread)]
    gap = second_eigenvalue(matrix) ** 2
    rows: list[Row] = probe_rows("size", cumulated(expected_factors(cell, kept)))
    rows += probe_rows("size_factor", [mean_over_draws(layer) for layer in grown])
    rows += probe_rows("dispersion", [geometric_mean(layer) for layer in spread[1:]])
    rows += probe_rows("dispersion_factor", falls)
    rows += probe_rows("gap_factor", [Estimate(fall.value / gap, fall.se / gap) for fall in falls])
    rows.append((0, "final_dispersion", cell.depth, *geometric_mean(spread[-1])))
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("graph_network")(
    Experiment(
        summary="Feature size and oversmoothing of random ReLU graph networks against depth",
        stage="sample",
        cell=GraphCell,
        cost=cost,
        run=run,
        example=probe_example(
            "size",
            {"graph": "ring", "nodes": 32, "reach": 8, "depth": 24, "draws": 32},
            {"width": 64},
            along="layer",
            select={"layer": [6, 12, 24]},
            smoke={"draws": 4},
        ),
    )
)
