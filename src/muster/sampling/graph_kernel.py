"""The tangent kernel of a wide graph network on graphs that a graphon makes, against that of the graphon.

N = `nodes` nodes at positions u in [0, 1]: (i − ½)/N, i/N or uniform at random; the shift S = A/N with the weights A_ij
= W(u_i, u_j) of the graphon, or edges with these probabilities (`edges` bernoulli; loops are drawn, too). Two layers of
filters in S^k, k = 0 … 2, with ReLU between them, z = Σ S^k x A_k/√(3F), f = Σ S^k φ(z) b_k/√(3n), normal parameters, n
→ ∞, on signals x_j(u) = cos πju, j < F = `width`. Then Θ = ⅓ Σ S^k (E φ(z)φ(z)ᵀ + E φ'(z)φ'(z)ᵀ ∘ C) (S^k)ᵀ, C the
covariance of z, with the means of Y. Cho and L. Saul, Kernel methods for deep learning (2009). Of the graphon sums over
nodes become integrals. S. Krishnagopal and L. Ruiz, Graph neural tangent kernel: convergence on large graphs (2023).

Root mean squares over `draws` of relative errors: `kernel_error`, of Θ at the graph's positions in the Frobenius norm;
`eigenvalue_error` at layer k, of the k-th largest eigenvalue of Θ/N. Expected exponents in N, derived here: −2 and −1
of eigenvalues by the midpoint rule and by that of end points; −½ at random positions; of random edges −1, as their
errors add up in the first order to those of a sum over N² of them, and −½ of the kernel, each entry of which has N. Of
`edges` sparse each node has about DEGREE W, S = A/DEGREE: no sequence of dense graphs, and no limit.
"""

import functools
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import generator
from muster.sampling.tables import Estimate, outcome, probe_rows

Array = NDArray[np.float64]
POWERS, RANKS, DEGREE = 3, 3, 8
FINE = 240  # points of the midpoint rule that stands for the graphon: a multiple of the blocks' 3


class GraphKernelCell(Cell):
    """One size of graphs."""

    width: int = Field(3, ge=1, le=20, description="F, channels of the signal")
    nodes: int = Field(ge=RANKS, le=4000, description="N, nodes of a graph")
    graphon: Literal["smooth", "blocks"] = Field("smooth", description="A smooth graphon, or two blocks from ⅓ on")
    positions: Literal["midpoint", "endpoint", "random"] = Field("midpoint", description="Where in [0, 1] nodes lie")
    edges: Literal["weighted", "bernoulli", "sparse"] = Field(
        "weighted", description="Weights W, edges of probability W, or of 8 W/N"
    )
    draws: int = Field(1, ge=1, le=10**6, description="Graphs")


def smooth(u: Array, v: Array) -> Array:
    """W between 0.2 and 0.9, with no symmetry but that of u and v."""
    return np.asarray(0.9 * np.exp(-((u[:, None] - v) ** 2) - (u[:, None] + v) / 2))


def blocks(u: Array, v: Array) -> Array:
    """W of two communities."""
    first, other = u[:, None] < 1 / 3, v < 1 / 3
    return np.where(first != other, 0.2, np.where(first & other, 0.8, 0.5))


GRAPHONS = {"smooth": smooth, "blocks": blocks}


def signal(u: Array, width: int) -> Array:
    """x [N, F]."""
    return np.asarray(np.cos(np.pi * u[:, None] * np.arange(width)))


def inner_kernel(features: Array) -> Array:
    """E φφᵀ + E φ'φ'ᵀ ∘ C [N, N] of the hidden layer, from S^k x [POWERS, N, F]."""
    flat = np.moveaxis(features, 0, 1).reshape(features.shape[1], -1)
    covariance = flat @ flat.T / flat.shape[1]
    size = np.sqrt(np.diag(covariance))
    cosine = np.clip(covariance / np.outer(size, size), -1, 1)
    angle = np.arccos(cosine)
    value = np.outer(size, size) * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / (2 * np.pi)
    return np.asarray(value + covariance * (np.pi - angle) / (2 * np.pi))


def tangent_kernel(shift: Array, x: Array) -> tuple[Array, Array]:
    """Θ [N, N] of a graph, and the part of S, S² and their signals alone, Σ_{k<2} S^k (…) (S^k)ᵀ, from which Θ at
    other nodes follows."""
    kernel = inner_kernel(np.stack([x, shift @ x, shift @ (shift @ x)]))
    once = shift @ kernel @ shift.T
    return (kernel + once + shift @ once @ shift.T) / POWERS, kernel + once


def eigenvalues(kernel: Array) -> Array:
    """The largest of Θ/N, descending."""
    return np.asarray(np.linalg.eigvalsh(kernel / len(kernel))[: -RANKS - 1 : -1])


def midpoints(nodes: int) -> Array:
    """The middle of N equal parts of [0, 1]."""
    return (np.arange(nodes) + 0.5) / nodes


@functools.cache
def graphon_limit(graphon: str, width: int) -> tuple[Array, Array, Array]:
    """Eigenvalues, extrapolated to N → ∞ from FINE and twice as many points (error N^−2, L. F. Richardson 1911); shift
    and kernel of FINE points."""
    found = []
    for nodes in (FINE, 2 * FINE):
        u = midpoints(nodes)
        shift = GRAPHONS[graphon](u, u) / nodes
        found.append((shift, *tangent_kernel(shift, signal(u, width))))
    (shift, kernel, part), (_, finer, _) = found
    return (4 * eigenvalues(finer) - eigenvalues(kernel)) / 3, shift, part


def limit_kernel(cell: GraphKernelCell, u: Array) -> Array:
    """Θ of the graphon at positions u: integrals by FINE points."""
    _, shift, part = graphon_limit(cell.graphon, cell.width)
    fine = midpoints(FINE)
    onto, x = GRAPHONS[cell.graphon](u, fine) / FINE, signal(fine, cell.width)
    kernel = inner_kernel(np.stack([signal(u, cell.width), onto @ x, onto @ (shift @ x)]))
    return np.asarray((kernel + onto @ part @ onto.T) / POWERS)


def draw_graph(cell: GraphKernelCell, rng: np.random.Generator) -> tuple[Array, Array]:
    """Positions [N] and shift [N, N]."""
    n = cell.nodes
    u = {"midpoint": midpoints(n), "endpoint": (np.arange(n) + 1) / n}.get(cell.positions)
    u = np.sort(rng.random(n)) if u is None else u
    weights = GRAPHONS[cell.graphon](u, u)
    if cell.edges == "weighted":
        return u, weights / n
    kept = min(1.0, DEGREE / n) if cell.edges == "sparse" else 1.0
    upper = np.triu(rng.random((n, n)) < kept * weights).astype(float)
    return u, (upper + np.triu(upper, 1).T) / (kept * n)


def root_mean_square(errors: Array) -> Estimate:
    """√E e² of errors [draws], se by the delta method; NaN for a single one."""
    squares = np.square(errors)
    value = float(np.sqrt(squares.mean()))
    return Estimate(
        value, float(squares.std(ddof=1) / np.sqrt(len(errors)) / (2 * value)) if len(errors) > 1 else np.nan
    )


def run(cell: GraphKernelCell, context: Context) -> Outcome:
    """Draw graphs."""
    rng, wanted = generator(cell), graphon_limit(cell.graphon, cell.width)[0]
    kernel_errors, eigenvalue_errors = [], []
    for _ in range(cell.draws):
        u, shift = draw_graph(cell, rng)
        kernel, told = tangent_kernel(shift, signal(u, cell.width))[0], limit_kernel(cell, u)
        kernel_errors.append(np.linalg.norm(kernel - told) / np.linalg.norm(told))
        eigenvalue_errors.append(eigenvalues(kernel) / wanted - 1)
    rows = probe_rows("kernel_error", [root_mean_square(np.array(kernel_errors))])
    rows += probe_rows("eigenvalue_error", [root_mean_square(each) for each in np.array(eigenvalue_errors).T])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: GraphKernelCell) -> Cost:
    """Products and eigenvalues of a matrix a graph, and those of the graphon."""
    each, once = 20.0 * cell.nodes**3 + 2.0 * cell.nodes * FINE**2, 20.0 * 9 * FINE**3
    seconds = 0.05 + cell.draws * (2e-4 + 3e-11 * each)
    return Cost(once + cell.draws * each, seconds, 3e8 + 100.0 * cell.nodes**2)


EXPERIMENTS.register("graph_kernel")(
    Experiment(
        summary="The tangent kernel of graph networks on graphs of a graphon: errors against the number of nodes",
        stage="sample",
        cell=GraphKernelCell,
        cost=cost,
        run=run,
        example=probe_example(
            "kernel_error",
            {"width": 3, "edges": "bernoulli", "draws": 20},
            {"nodes": [16, 32, 64, 128]},
            along="nodes",
            smoke={"draws": 2},
            predicted=-0.5,
        ),
    )
)
