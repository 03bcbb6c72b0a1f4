"""The least eigenvalue of the kernel of wide ReLU networks whose layers form a random graph, and the graph's paths.

L = `depth` hidden layers, z_v = Σ_u h_u W_uv over the sources u of v, h_v = ReLU(z_v), weights of variance 2/(sources ×
units), on `inputs` unit vectors in d = `width` dimensions. As the number of units grows, the covariance of z_v is the
mean over its sources of R(K_u), R the ReLU kernel of unit diagonal (√(1 − ρ²) + (π − arccos ρ) ρ)/π (Y. Cho and L.
Saul, Kernel methods for deep learning, 2009), that of the inputs XXᵀ; λ is the least eigenvalue of R(K_L). W. Chen, W.
Huang, X. Gong, B. Hanin and Z. Wang, Deep architecture connectivity matters for its convergence (2022), bound the rate
of training by it and describe a graph by its effective depth, the mean number of layers on a path from input to output,
and effective width, the number of paths over that (`effective_depth_width` in the authors' code; skips are no edges
here). In a chain of many layers all correlations approach 1 − 9π²/(2L²), hence λ → 9π²/(2L²); derived from R(ρ) = ρ +
(2√2/3π)(1 − ρ)^(3/2) + ….

Probes over `draws` sets of inputs, each with GRAPHS random graphs of edge densities uniform in [0.1, 0.9]:
`depth_rank`, `width_rank`, Spearman's correlation of λ with effective depth and width; `depth_bend`, the coefficient of
a square in the regression of the standardized ln λ on the standardized effective depth: below 0 moderate depths have
the largest λ. `chain_least`, the geometric mean of λ of the chain.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.models.graphs import Graph, chain, path_lengths, random_graph
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
GRAPHS = 60


class DagKernelCell(Cell):
    """One number of layers and dimension of the inputs."""

    width: int = Field(12, ge=2, le=1000, description="d, dimension of the inputs")
    depth: int = Field(8, ge=1, le=4096, description="L, hidden layers")
    inputs: int = Field(24, ge=2, le=1000, description="Inputs on the unit sphere")
    chains: bool = Field(False, description="Chains alone")
    draws: int = Field(20, ge=2, le=10**5, description="Sets of inputs, and of graphs")


def relu_kernel(rho: Array) -> Array:
    """R of correlations."""
    rho = np.clip(rho, -1, 1)
    return np.asarray((np.sqrt(1 - rho**2) + (np.pi - np.arccos(rho)) * rho) / np.pi)


def least_eigenvalue(graph: Graph, products: Array) -> float:
    """λ of a graph from the inputs' products [n, n]."""
    features = [products]
    for sources in graph:
        covariance = np.mean([features[source] for source in sources], axis=0)
        features.append(relu_kernel(covariance))
    return float(np.linalg.eigvalsh(features[-1])[0])


def effective(graph: Graph) -> tuple[float, float]:
    """Effective depth and width."""
    lengths = path_lengths(graph)
    paths = sum(lengths.values())
    depth = sum(length * count for length, count in lengths.items()) / paths
    return depth, paths / depth


def bend(depth: Array, logs: Array) -> float:
    """Coefficient of the square, both variables standardized; of graphs of one depth 0."""
    if not depth.std():
        return 0.0
    x, y = ((each - each.mean()) / each.std() for each in (depth, logs))
    return float(np.polyfit(x, y, 2)[0])


def correlations(cell: DagKernelCell, products: Array, rng: np.random.Generator) -> list[float]:
    """The probes of one set of inputs."""
    from scipy.stats import spearmanr

    seeds, densities = rng.integers(2**31, size=GRAPHS), rng.uniform(0.1, 0.9, GRAPHS)
    graphs = [random_graph(cell.depth, float(p), int(seed)) for seed, p in zip(seeds, densities, strict=True)]
    least = np.array([least_eigenvalue(graph, products) for graph in graphs])
    depth, width = np.array([effective(graph) for graph in graphs]).T
    return [*(float(spearmanr(least, each).statistic) for each in (depth, width)), bend(depth, np.log(least))]


def run(cell: DagKernelCell, context: Context) -> Outcome:
    """Draw inputs and graphs."""
    rng, chains, found = generator(cell), [], []
    for _ in range(cell.draws):
        x = rng.standard_normal((cell.inputs, cell.width))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        chains.append(least_eigenvalue(chain(cell.depth), x @ x.T))
        if not cell.chains:
            found.append(correlations(cell, x @ x.T, rng))
    rows = probe_rows("chain_least", [geometric_mean(np.array(chains))])
    for probe, values in zip(("depth_rank", "width_rank", "depth_bend"), np.array(found).T, strict=False):
        rows += probe_rows(probe, [mean_over_draws(values)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: DagKernelCell) -> Cost:
    """A kernel a layer and an eigendecomposition a graph."""
    graphs = cell.draws * (1.0 if cell.chains else GRAPHS + 1.0)
    kernels = graphs * cell.depth * cell.inputs**2
    seconds = graphs * (1e-4 + 1.5e-5 * cell.depth) + 1.6e-8 * kernels
    return Cost(40 * kernels + 10 * graphs * cell.inputs**3, seconds, 2e8 + 8.0 * cell.depth * cell.inputs**2)


EXPERIMENTS.register("dag_kernel")(
    Experiment(
        summary="Least eigenvalue of the kernel of wide networks on random graphs of layers against the graph's paths",
        stage="sample",
        cell=DagKernelCell,
        cost=cost,
        run=run,
        example=probe_example(
            "chain_least",
            {"chains": True, "width": 12, "draws": 8},
            {"depth": [32, 64, 128]},
            along="depth",
            smoke={"draws": 2},
            predicted=-2,
        ),
    )
)
