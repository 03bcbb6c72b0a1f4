"""How much the features of a node of a graph network depend on those of another, and the resistance between the two.

A connected random graph of `nodes` nodes, Â = D^(−½)(A + I)D^(−½) as in `graph_network`, features H_ℓ = ReLU(Â H_(ℓ−1)
W_ℓ) of `width` channels with weights of variance 2/width. The sensitivity of a pair u, v is the sum over layers up to
`depth` of ‖∂h_u^ℓ/∂h_v^0‖_F + ‖∂h_v^ℓ/∂h_u^0‖_F; `normalized` it is over √(d_u d_v), d the degrees, loop included, as
in R_uv = Σ_j (Â^j_uu/d_u + Â^j_vv/d_v − 2 Â^j_uv/√(d_u d_v)). R_uv = (e_u − e_v)ᵀ L⁺
(e_u − e_v), L = D − A − I the Laplacian, is the resistance between u and v in the graph of unit resistors. M. Black, Z.
Wan, A. Nayyeri and Y. Wang, Understanding oversquashing in GNNs through the lens of effective resistance (2023).

Probes over `draws` graphs: `resistance_rank`, Spearman's correlation of sensitivity and R over all pairs,
`distance_rank`, that of sensitivity and the edges of the shortest path, `resistance_rank_at_two`, the first over the
pairs at distance two; `rewired`, the sensitivity of all pairs together after the edge that lowers Σ R most was added,
over that after a random edge, with the same weights and inputs.
"""

import numpy as np
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.graph_network import erdos
from muster.sampling.random_network import Array, gaussian_weights, generator
from muster.sampling.tables import outcome, probe_rows

RANKS = ("resistance_rank", "distance_rank", "resistance_rank_at_two")


class SensitivityCell(Cell):
    """Graphs of one size and density, and networks of one shape."""

    nodes: int = Field(24, ge=4, le=200, description="Nodes of the graph")
    reach: int = Field(2, ge=1, le=100, description="Half the mean degree of the graph")
    normalized: bool = Field(True, description="Divide sensitivities by the root of the degrees' product")
    draws: int = Field(20, ge=2, le=10**5, description="Random graphs and networks")


def connected(cell: SensitivityCell, rng: np.random.Generator) -> Array:
    """A + I [T, T] of the first random graph that is connected."""
    while True:
        linked = (erdos(cell.nodes, cell.reach, rng) > 0).astype(float)
        if (np.linalg.matrix_power(linked, cell.nodes) > 0).all():
            return linked


def resistances(linked: Array) -> tuple[Array, Array]:
    """R [T, T] and the pseudo-inverse of the Laplacian [T, T]."""
    inverse = np.linalg.pinv(np.diag(linked.sum(axis=1)) - linked, hermitian=True)
    diagonal = np.diag(inverse)
    return diagonal[:, None] + diagonal - 2 * inverse, inverse


def best_edge(linked: Array) -> tuple[int, int]:
    """The missing edge uv that lowers Σ R most: by T |L⁺(e_u − e_v)|²/(1 + R_uv) over unordered pairs (J. Sherman and
    W. Morrison 1950)."""
    r, inverse = resistances(linked)
    squares = inverse @ inverse
    fall = (np.diag(squares)[:, None] + np.diag(squares) - 2 * squares) / (1 + r)
    u, v = np.unravel_index(np.where(linked > 0, -1.0, fall).argmax(), r.shape)
    return int(u), int(v)


def with_edge(linked: Array, edge: tuple[int, int]) -> Array:
    """The graph with an edge more."""
    more = linked.copy()
    more[edge] = more[edge[::-1]] = 1.0
    return more


def sensitivities(linked: Array, h: Array, weights: Array) -> Array:
    """Σ_ℓ of the symmetrized Jacobian norms, [T, T], for features h [T, n] and weights [L, n, n]."""
    nodes, n = h.shape
    degree = linked.sum(axis=1)
    mix = linked / np.sqrt(np.outer(degree, degree))
    jacobian = np.einsum("uv,ij->uivj", np.eye(nodes), np.eye(n))  # ∂h_ui/∂h⁰_vj
    total = np.zeros((nodes, nodes))
    for weight in weights:
        z = mix @ h @ weight
        moved = np.tensordot(mix, jacobian, 1).transpose(0, 2, 3, 1) @ weight
        jacobian = moved.transpose(0, 3, 1, 2) * (z > 0)[:, :, None, None]
        h = np.maximum(z, 0)
        total += np.sqrt(np.square(jacobian).sum(axis=(1, 3)))
    return np.asarray(total + total.T)


def measured(cell: SensitivityCell, linked: Array, h: Array, weights: Array) -> Array:
    """Sensitivities of all pairs u < v."""
    degree = linked.sum(axis=1) if cell.normalized else np.ones(cell.nodes)
    return np.asarray(
        (sensitivities(linked, h, weights) / np.sqrt(np.outer(degree, degree)))[np.triu_indices(cell.nodes, 1)]
    )


def run(cell: SensitivityCell, context: Context) -> Outcome:
    """Draw graphs and networks."""
    from scipy.sparse.csgraph import shortest_path
    from scipy.stats import spearmanr

    rng = generator(cell)
    pairs = np.triu_indices(cell.nodes, 1)
    ranks, gains = [], []
    for _ in range(cell.draws):
        linked = connected(cell, rng)
        h, weights = rng.standard_normal((cell.nodes, cell.width)), gaussian_weights(rng, cell.depth, cell.width, 2.0)
        found = measured(cell, linked, h, weights)
        resistance, distance = resistances(linked)[0][pairs], shortest_path(linked, unweighted=True)[pairs]
        alike = distance == 2
        compared = ((found, resistance), (found, distance), (found[alike], resistance[alike]))
        ranks.append([spearmanr(*each).statistic for each in compared])
        edges = (best_edge(linked), tuple(rng.choice(np.argwhere(linked == 0)).tolist()))
        gains.append([measured(cell, with_edge(linked, edge), h, weights).sum() for edge in edges])
    best, random = np.array(gains).T
    rows = probe_rows("rewired", [geometric_mean(best / random)])
    for probe, values in zip(RANKS, np.array(ranks).T, strict=True):
        rows += probe_rows(probe, [mean_over_draws(values)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: SensitivityCell) -> Cost:
    """Jacobians of all pairs of nodes, three times a draw."""
    flops = 6.0 * cell.draws * cell.depth * (cell.nodes * cell.width) ** 2 * (cell.nodes + cell.width)
    return Cost(flops, 4e-10 * flops, 2e8 + 32.0 * (cell.nodes * cell.width) ** 2)


EXPERIMENTS.register("graph_sensitivity")(
    Experiment(
        summary="Sensitivities between nodes of random ReLU graph networks against effective resistances",
        stage="sample",
        cell=SensitivityCell,
        cost=cost,
        run=run,
        example=probe_example(
            "rewired",
            {"width": 8, "depth": 4, "draws": 4},
            {"nodes": [12, 16, 24]},
            along="nodes",
            smoke={"draws": 2},
        ),
    )
)
