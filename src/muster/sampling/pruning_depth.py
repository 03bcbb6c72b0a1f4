"""Pruning a deep random network by gradients: at which sparsity is a whole layer gone?
L = `depth` layers of `width` tanh units on one input, z_ℓ = W_ℓ h_{ℓ−1} + b_ℓ, weights of variance C_W/n, biases of
variance C_b, chosen so that K = `kernel` is the fixed point K = C_b + C_W E φ(√K g)² of the preactivations' variance,
and χ = C_W E φ'(√K g)² the `susceptibility`, by which squared gradients change a layer: 1 is the edge of chaos, below
it they vanish (S. Schoenholz et al., Deep information propagation, 2017). A weight has the score |w ∂loss/∂w|, the
gradient by the last layer being normal. S. Hayou, J.-F. Ton, A. Doucet and Y. W. Teh, Robust pruning at initialization
(2021).

Probe `critical_sparsity`: the share of weights whose score is at most the least of the layers' largest scores; pruning
more of the weights than that empties a layer.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import ACTIVATIONS, generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
TANH = ACTIVATIONS["tanh"]


class PruningCell(Cell):
    """One shape and initialization."""

    susceptibility: float = Field(1.0, gt=0, le=10, description="χ, growth of squared gradients a layer; 1: critical")
    kernel: float = Field(1.0, gt=0, le=100, description="K, variance of the preactivations in every layer")
    draws: int = Field(16, ge=2, le=10**5, description="Random networks")

    @model_validator(mode="after")
    def _biases_exist(self) -> Self:
        if variances(self)[1] < 0:
            raise ValueError(
                f"kernel {self.kernel:g} with χ = {self.susceptibility:g} needs biases of variance below 0"
            )
        return self


def variances(cell: PruningCell) -> tuple[float, float]:
    """C_W and C_b of the fixed point, by Gauss–Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z, weights = np.sqrt(cell.kernel) * nodes, weights / weights.sum()
    weight = cell.susceptibility / float(weights @ TANH.slope(z) ** 2)
    return weight, cell.kernel - weight * float(weights @ TANH.value(z) ** 2)


def scores(cell: PruningCell, rng: np.random.Generator) -> Array:
    """|w ∂loss/∂w| of one network, [depth, width, width]; the input has the fixed point's mean square."""
    n, (weight, bias) = cell.width, variances(cell)
    w = rng.standard_normal((cell.depth, n, n)) * np.sqrt(weight / n)
    b = rng.standard_normal((cell.depth, n)) * np.sqrt(bias)
    h, z = [TANH.value(np.sqrt(cell.kernel) * rng.standard_normal(n))], []
    for layer in range(cell.depth):
        z.append(w[layer] @ h[-1] + b[layer])
        h.append(TANH.value(z[-1]))
    back = rng.standard_normal(n)
    found = np.empty_like(w)
    for layer in range(cell.depth - 1, -1, -1):
        delta = TANH.slope(z[layer]) * back
        found[layer] = np.abs(w[layer] * np.outer(delta, h[layer]))
        back = w[layer].T @ delta
    return found


def critical_sparsity(found: Array) -> float:
    """Share of the weights that are gone when a layer has none left."""
    return float((found <= found.max(axis=(1, 2)).min()).mean())


def run(cell: PruningCell, context: Context) -> Outcome:
    """Prune the networks."""
    rng = generator(cell)
    found = np.array([critical_sparsity(scores(cell, rng)) for _ in range(cell.draws)])
    return outcome(probe_rows("critical_sparsity", [geometric_mean(found)]), flops=cost(cell).flops)


def cost(cell: PruningCell) -> Cost:
    """A normal number a weight and some operations."""
    numbers = float(cell.draws) * cell.depth * cell.width**2
    return Cost(20 * numbers, 4e-8 * numbers + 2e-5 * cell.draws * cell.depth, 2e8 + 32.0 * cell.depth * cell.width**2)


EXPERIMENTS.register("pruning_depth")(
    Experiment(
        summary="Sparsity at which pruning a random network by gradients empties a layer",
        stage="sample",
        cell=PruningCell,
        cost=cost,
        run=run,
        example=probe_example(
            "critical_sparsity",
            {"width": 32, "susceptibility": 0.6, "draws": 8},
            {"depth": [32, 64, 128]},
            along="depth",
            smoke={"draws": 2},
            predicted=-1,
        ),
    )
)
