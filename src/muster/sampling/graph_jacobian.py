"""How the sensitivity of one node of a graph network to another depends on width, depth and distance.

A ring of T = `nodes` nodes, S the mean over a node and `reach` neighbours on either side, features H_ℓ = φ(S H_(ℓ−1)
W_ℓ) of p = `width` channels, φ ReLU or none, normal weights of variance V/p, V = `weight_variance`, or V/REFERENCE at
every width (`weights` fixed). J = ∂h_v^ℓ/∂h_u^0, v and u `distance` = r apart. F. Di Giovanni, L. Giusti, F. Barbero,
G. Luise, P. Liò and M. Bronstein, On over-squashing in message passing neural networks (2023), bound the spectral norm
of J by (c w p)^ℓ (S^ℓ)_vu, with w the largest weight and c the slope of φ (the bound is quoted from memory).

Derived here: without φ, J = (S^ℓ)_vu W_ℓ…W_1, and E‖J‖_F² = p V^ℓ ((S^ℓ)_vu)² exactly. With ReLU and a single path,
ℓ = r at reach 1, (V/2)^ℓ stands for V^ℓ: given the features, the sign of a row of weights decides its unit's mask and
nothing of the square of its part of J. Paths that differ pass different masks, so that their cross terms are smaller.

Probes at layers ℓ from the first that reaches v: `path_ratio`, E‖J‖_F² over that formula; `sensitivity`, the geometric
mean of ‖J‖_F/√p. `one_path_ratio`, the first of the former. At the last layer `spectral_norm` of J, a geometric mean.
"""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.graph_network import ring
from muster.sampling.random_network import Array, gaussian_weights, generator
from muster.sampling.tables import Row, outcome

REFERENCE = 32  # width at which fixed weights have the variance of scaled ones


class JacobianCell(Cell):
    """One network, and two nodes of its ring."""

    nodes: int = Field(11, ge=3, le=200, description="Nodes of the ring")
    reach: int = Field(1, ge=1, le=100, description="Neighbours on either side that a node's mean includes")
    distance: int = Field(4, ge=0, le=100, description="r, edges between the two nodes along the ring")
    activation: Literal["relu", "identity"] = Field("relu", description="φ, or none")
    weight_variance: float = Field(2.0, gt=0, le=100, description="V: variance of a weight times the width")
    weights: Literal["scaled", "fixed"] = Field("scaled", description="Variance V/width, or of width 32 at every width")
    draws: int = Field(200, ge=2, le=10**5, description="Random networks")

    @property
    def gain(self) -> float:
        """Variance of a weight times the width."""
        return self.weight_variance * (self.width / REFERENCE if self.weights == "fixed" else 1)

    @property
    def first(self) -> int:
        """Layers after which one node reaches the other."""
        return max(1, -(-self.distance // self.reach))

    @model_validator(mode="after")
    def _reaches(self) -> Self:
        if 2 * self.distance > self.nodes or self.first > self.depth:
            raise ValueError(f"distance {self.distance} needs {2 * self.distance} nodes and {self.first} layers")
        return self


def jacobians(cell: JacobianCell, mix: Array, h: Array, weights: Array) -> list[Array]:
    """∂h_v^ℓ/∂h_0^0 for every layer and node, [T, inputs p, outputs p] each, of features h [T, p]."""
    found, current = [], np.zeros((cell.nodes, cell.width, cell.width))
    current[0] = np.eye(cell.width)
    for weight in weights:
        current, h = np.tensordot(mix, current, 1) @ weight, mix @ h @ weight
        if cell.activation == "relu":
            current, h = current * (h > 0)[:, None], np.maximum(h, 0)
        found.append(current)
    return found


def path_formula(cell: JacobianCell, mix: Array) -> Array:
    """E‖J‖_F²/p [depth − first + 1] if all paths passed one mask."""
    layers = np.arange(cell.first, cell.depth + 1)
    walks = np.array([np.linalg.matrix_power(mix, layer)[cell.distance, 0] for layer in layers])
    return np.asarray((cell.gain / (2 if cell.activation == "relu" else 1)) ** layers * walks**2)


def run(cell: JacobianCell, context: Context) -> Outcome:
    """Draw networks; both nodes at the distance count, which have one law."""
    rng, mix = generator(cell), ring(cell.nodes, cell.reach)
    pair = [cell.distance, -cell.distance % cell.nodes]
    squares, norms = [], []
    for _ in range(cell.draws):
        h = rng.standard_normal((cell.nodes, cell.width))
        weights = gaussian_weights(rng, cell.depth, cell.width, cell.gain)
        reached = [each[pair] for each in jacobians(cell, mix, h, weights)[cell.first - 1 :]]
        squares.append([np.square(each).sum(axis=(1, 2)).mean() / cell.width for each in reached])
        norms.append(np.linalg.norm(reached[-1], 2, axis=(1, 2)).mean())
    squared, formula = np.array(squares), path_formula(cell, mix)
    rows: list[Row] = []
    for layer, (each, told) in enumerate(zip(squared.T, formula, strict=True), start=cell.first):
        ratio = mean_over_draws(each / told)
        rows += [(0, "path_ratio", layer, *ratio), (0, "sensitivity", layer, *geometric_mean(np.sqrt(each)))]
        rows += [(0, "one_path_ratio", layer, *ratio)] if layer == cell.first else []
    rows.append((0, "spectral_norm", cell.depth, *geometric_mean(np.array(norms))))
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: JacobianCell) -> Cost:
    """A product of all Jacobians with the weights in every layer."""
    flops = 2.0 * cell.draws * cell.depth * cell.nodes * cell.width**2 * (cell.width + cell.nodes)
    memory = 2e8 + 8.0 * cell.depth * cell.width**2 * (cell.nodes + 1)
    return Cost(flops, 7e-11 * flops + 3e-5 * cell.draws * cell.depth, memory)


EXPERIMENTS.register("graph_jacobian")(
    Experiment(
        summary="Sensitivity of one node of a ring's graph network to another against width, depth and distance",
        stage="sample",
        cell=JacobianCell,
        cost=cost,
        run=run,
        example=probe_example("spectral_norm", {"depth": 4, "draws": 40}, {"width": [8, 16, 32]}, smoke={"draws": 4}),
    )
)
