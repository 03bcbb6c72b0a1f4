"""Addition modulo p without weight decay: does a network generalize before its losses are zero to the last bit?

A ReLU network with two hidden layers of `width` units sees a `share` of the p² pairs of one-hot numbers (p = `modulus`)
in every step of Adam (rate `rate`, second moments over 100 steps, ε = 1e-30, as the authors have it), the others are
held out. Weights are binary64 numbers; only the loss is computed in `precision`, as the authors' casts of the scores
are. `normalizer` softmax is cross-entropy; stablemax the same with s(x) = x + 1 for x ≥ 0 and 1/(1 − x) below in the
place of exp x. L. Prieto, M. Barsbey, P. Mediano and T. Birdal, Grokking at the edge of numerical stability (2025), and
their code: p = 113, 200 units, rate 5e-4.

Probes: `train_accuracy`, `heldout_accuracy` and `zero_losses` (share of the training losses that are exactly zero) at
step 0, of the last step; `collapse_steps`, the steps until half of the losses are zero, or `steps`; `best_accuracy`,
the highest held-out accuracy at a look every LOOK steps.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import generator
from muster.sampling.relu_network import Adam, forward, gradients, initial
from muster.sampling.softmax_collapse import BETAS, EPSILON
from muster.sampling.tables import Estimate, Row, outcome, probe_rows

Array = NDArray[Any]
LOOK = 20


class ModularGrokkingCell(Cell):
    """One network."""

    normalizer: Literal["softmax", "stablemax"] = Field("softmax", description="What turns scores into probabilities")
    precision: Literal["float16", "float32", "float64"] = Field("float32", description="Of the loss")
    modulus: int = Field(23, ge=3, le=200, description="p")
    share: float = Field(0.6, gt=0, lt=1, description="Of the pairs, to train on")
    rate: float = Field(2e-3, gt=0, le=1, description="Learning rate")
    steps: int = Field(3000, ge=LOOK, le=10**6, description="Updates, all pairs in each")


def losses(cell: ModularGrokkingCell, scores: Array, classes: Array) -> tuple[Array, Array]:
    """Losses [n] and their gradients by the scores [n, C], in the cell's precision."""
    scores, row = scores.astype(cell.precision), np.arange(len(classes))
    if cell.normalizer == "softmax":
        scores -= scores.max(axis=1, keepdims=True)
        mass, slope = np.exp(scores), np.ones_like(scores)
    else:
        mass = np.where(scores >= 0, scores + 1, 1 / (1 + np.abs(scores)))
        slope = np.where(scores >= 0, 1 / mass, mass)  # d ln s/dx
    total = mass.sum(axis=1, keepdims=True)
    p = mass / total
    lost = np.log(total[:, 0]) - scores[row, classes] if cell.normalizer == "softmax" else -np.log(p[row, classes])
    p[row, classes] -= 1
    return lost, p * slope


def trained(cell: ModularGrokkingCell, rng: np.random.Generator) -> dict[str, float]:
    """The probes of one network."""
    p, n = cell.modulus, cell.width
    numbers = rng.permutation(p * p)
    x = np.concatenate([np.eye(p)[numbers // p], np.eye(p)[numbers % p]], axis=1)
    classes, seen = (numbers // p + numbers % p) % p, round(cell.share * p * p)
    weights = initial([2 * p, n, n, p], rng)
    adam = Adam(weights, cell.rate, BETAS, EPSILON)
    collapse, best = cell.steps, 0.0

    def right(scores: Array, wanted: Array) -> float:
        return float((scores.argmax(axis=1) == wanted).mean())

    for step in range(1, cell.steps + 1):
        layers = forward(weights, x[:seen])
        lost, slope = losses(cell, layers[-1], classes[:seen])
        zeros = float((lost == 0).mean())
        if zeros >= 0.5:
            collapse = min(collapse, step)
        if step % LOOK == 0:
            heldout = right(forward(weights, x[seen:])[-1], classes[seen:])
            best = max(best, heldout)
        adam.step(gradients(weights, layers, slope.astype(float) / seen))
    return {
        "train_accuracy": right(layers[-1], classes[:seen]),
        "heldout_accuracy": heldout,
        "best_accuracy": best,
        "zero_losses": zeros,
        "collapse_steps": float(collapse),
    }


def run(cell: ModularGrokkingCell, context: Context) -> Outcome:
    """Train the network."""
    rows: list[Row] = []
    for probe, value in trained(cell, generator(cell)).items():
        rows += probe_rows(probe, [Estimate(value, np.nan)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: ModularGrokkingCell) -> Cost:
    """Forward and backward passes of the training pairs, and Adam on all weights."""
    pairs, weights = cell.share * cell.modulus**2, cell.width * (3.0 * cell.modulus + cell.width)
    flops = 6 * cell.steps * pairs * weights
    return Cost(flops, cell.steps * (3e-4 + 3e-8 * weights) + 6e-11 * flops, 2e8)


EXPERIMENTS.register("modular_grokking")(
    Experiment(
        summary="Modular addition without weight decay: held-out accuracy, and losses that are zero to the last bit",
        stage="sample",
        cell=ModularGrokkingCell,
        cost=cost,
        run=run,
        example=probe_example(
            "collapse_steps", {"modulus": 11, "steps": 400}, {"width": [32, 48, 64]}, smoke={"steps": 100}
        ),
    )
)
