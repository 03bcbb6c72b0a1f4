"""A two-layer ReLU network on XOR clusters with flipped labels: it fits them at once and generalizes later.

p = `width` dimensions; n = `samples` inputs ±μ₁ + ξ or ±μ₂ + ξ, ξ normal, μ₁ ⊥ μ₂ of ‖μ‖² = `signal`; the label is 1 in
the clusters of μ₁ and −1 in those of μ₂, a share FLIPS of the training labels is flipped. UNITS hidden units, readouts
±1/√UNITS that stay fixed, initial weights of sd INITIAL, full-batch gradient descent at `rate` on the logistic loss. Z.
Xu, Y. Wang, S. Frei, G. Vardi and W. Hu, Benign overfitting and grokking in ReLU networks for XOR cluster data (2023).
Weights stay W₀ + C X, so that products of inputs are all that is needed. Probes (`step` = 1, 2, 4, …), means over
`draws`: `train_accuracy` on the labels with flips, `test_accuracy` on TESTS new inputs without.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.floating]
UNITS, FLIPS, INITIAL, TESTS = 100, 0.1, 1e-5, 1000


class XorClustersCell(Cell):
    """One dimension of the inputs, p = `width`."""

    width: int = Field(ge=2, description="Dimension of the inputs")
    samples: int = Field(100, ge=2, le=10**4, description="n, training inputs")
    signal: float = Field(400.0, gt=0, le=1e8, description="‖μ‖², squared distance of a cluster from 0")
    rate: float = Field(0.01, gt=0, le=1e3, description="Learning rate")
    steps: int = Field(64, ge=1, le=10**4, description="Steps of gradient descent")
    draws: int = Field(8, ge=2, le=10**5, description="Independent samples and networks")

    @property
    def looks(self) -> list[int]:
        """Steps after which accuracies are measured."""
        return [2**k for k in range(self.steps.bit_length())]


def clusters(cell: XorClustersCell, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs [count, p] and their labels ±1 [count]; μ₁ and μ₂ lie along the first two axes."""
    x = rng.standard_normal((count, cell.width), dtype=np.float32)
    which = rng.integers(2, size=count)
    x[np.arange(count), which] += np.float32(cell.signal**0.5) * rng.choice(np.array([-1, 1], np.float32), count)
    return x, 1.0 - 2 * which


def accuracies(cell: XorClustersCell, rng: np.random.Generator) -> Array:
    """Training and test accuracy at every look, [looks, 2], of one network."""
    x, labels = clusters(cell, cell.samples, rng)
    labels = np.where(rng.random(cell.samples) < FLIPS, -labels, labels)
    new, truth = clusters(cell, TESTS, rng)
    first = np.float32(INITIAL) * rng.standard_normal((UNITS, cell.width), dtype=np.float32)
    readout = rng.choice([-1.0, 1.0], UNITS) / UNITS**0.5
    start, inner = (x @ first.T).astype(float), (x @ x.T).astype(float)
    start_new, inner_new = (new @ first.T).astype(float), (new @ x.T).astype(float)
    moved, found = np.zeros((cell.samples, UNITS)), []
    for step in range(1, cell.steps + 1):
        hidden = start + inner @ moved
        pull = labels / (1 + np.exp(labels * (np.maximum(hidden, 0) @ readout))) / cell.samples
        moved += cell.rate * pull[:, None] * readout * (hidden > 0)
        if step in cell.looks:
            train, test = (
                (np.maximum(base + products @ moved, 0) @ readout * known > 0).mean()
                for base, products, known in ((start, inner, labels), (start_new, inner_new, truth))
            )
            found.append((train, test))
    return np.array(found)


def run(cell: XorClustersCell, context: Context) -> Outcome:
    """Train every network."""
    rng = generator(cell)
    found = np.array([accuracies(cell, rng) for _ in range(cell.draws)])
    rows: list[Row] = [
        (step, probe, 1, *mean_over_draws(found[:, look, side]))
        for look, step in enumerate(cell.looks)
        for side, probe in enumerate(("train_accuracy", "test_accuracy"))
    ]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: XorClustersCell) -> Cost:
    """Inputs, and their products with training inputs and first weights."""
    inputs = float(cell.samples + TESTS) * cell.width
    flops = cell.draws * (2 * inputs * (cell.samples + UNITS) + 8.0 * cell.steps * cell.samples**2 * UNITS)
    return Cost(flops, cell.draws * 2e-8 * inputs + 2e-11 * flops, 2e8 + 8.0 * inputs)


EXPERIMENTS.register("xor_clusters")(
    Experiment(
        summary="A ReLU network on XOR clusters with flipped labels: training and test accuracy step by step",
        stage="sample",
        cell=XorClustersCell,
        cost=cost,
        run=run,
        example=probe_example(
            "test_accuracy", {"draws": 2, "samples": 20}, {"width": [500, 700, 1000]}, select={"step": 64}, predicted=0
        ),
    )
)
