"""Learning a wave on a d-dimensional torus from N points: how the error depends on d and on how sharp the target is.

N = `width` points uniform on the flat torus [0, 1)^d (d = `dimension`); the target is Σ_j √(2/d) cos(2π K x_j + φ_j)
with random phases, whose root mean square is 1 and that of its gradient 2πK (K = `frequency`), whatever d. `learner`:
- neighbour: the value of the nearest point. Its distance has mean Γ(1 + 1/d) (N v_d)^(−1/d) for large N, v_d being the
  volume of the unit ball, so that the error is ∝ K N^(−1/d), as long as it is small;
- network: a ReLU network with two hidden layers of UNITS units that sees the torus in AMBIENT dimensions, (cos 2πx_j,
  sin 2πx_j) turned at random and scaled to unit variance, trained on all points by `steps` steps of Adam on
  the squared error, rate RATE, falling linearly.
N. Konz and M. Mazurowski, The effect of intrinsic dataset properties on generalization (2024): loss ≲ K N^(−1/d).

Probes, means over `draws` of points, phases and weights: `error`, mean absolute error on TESTS new points; `distance`,
mean distance of the nearest point (of learner neighbour).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.relu_network import Adam, forward, gradients, initial
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
TESTS, UNITS, AMBIENT, RATE = 2000, 64, 30, 3e-3


class TorusCell(Cell):
    """One number of points, N = `width`."""

    dimension: int = Field(ge=1, le=AMBIENT // 2, description="d, of the torus")
    frequency: int = Field(1, ge=1, le=1000, description="K, waves of the target around the torus")
    learner: Literal["neighbour", "network"] = Field("neighbour", description="Nearest point, or a trained network")
    steps: int = Field(1000, ge=1, le=10**6, description="Updates of a network")
    draws: int = Field(8, ge=2, le=10**5, description="Independent samples")


def target(x: Array, phases: Array, frequency: int) -> Array:
    """Values [n] of the wave at points [n, d]."""
    return np.asarray(np.sqrt(2 / x.shape[1]) * np.cos(2 * np.pi * frequency * x + phases).sum(axis=1))


def embedded(x: Array, frame: Array) -> Array:
    """Points [n, d] of the torus in AMBIENT dimensions, by an orthonormal frame [AMBIENT, 2d]."""
    turns = np.sqrt(2) * np.concatenate([np.cos(2 * np.pi * x), np.sin(2 * np.pi * x)], axis=1)
    return np.asarray(turns @ frame.T)


def fitted(x: Array, y: Array, new: Array, steps: int, rng: np.random.Generator) -> Array:
    """Outputs [m] on new inputs of a network trained on inputs [n, AMBIENT] and values [n]."""
    weights = initial([AMBIENT, UNITS, UNITS, 1], rng)
    adam = Adam(weights, RATE)
    for step in range(steps):
        adam.rate = RATE * (1 - step / steps)
        layers = forward(weights, x)
        adam.step(gradients(weights, layers, 2 * (layers[-1] - y[:, None]) / len(y)))
    return np.asarray(forward(weights, new)[-1][:, 0])


def errors(cell: TorusCell, rng: np.random.Generator) -> tuple[float, float]:
    """Mean absolute error and mean distance of the nearest point (NaN for a network) of one sample."""
    from scipy.spatial import cKDTree

    d = cell.dimension
    x, new, phases = rng.random((cell.width, d)), rng.random((TESTS, d)), rng.uniform(0, 2 * np.pi, d)
    y, truth = target(x, phases, cell.frequency), target(new, phases, cell.frequency)
    if cell.learner == "network":
        frame, _ = np.linalg.qr(rng.standard_normal((AMBIENT, 2 * d)))
        return float(
            np.abs(fitted(embedded(x, frame), y, embedded(new, frame), cell.steps, rng) - truth).mean()
        ), np.nan
    distance, nearest = cKDTree(x, boxsize=1.0).query(new)
    return float(np.abs(y[nearest] - truth).mean()), float(distance.mean())


def run(cell: TorusCell, context: Context) -> Outcome:
    """Learn from every sample."""
    rng = generator(cell)
    error, distance = np.array([errors(cell, rng) for _ in range(cell.draws)]).T
    rows = probe_rows("error", [mean_over_draws(error)])
    if cell.learner == "neighbour":
        rows += probe_rows("distance", [mean_over_draws(distance)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: TorusCell) -> Cost:
    """A tree of the points, or forward and backward passes of all of them."""
    if cell.learner == "network":
        flops = 6.0 * cell.draws * cell.steps * cell.width * UNITS * (AMBIENT + UNITS + 1)
        return Cost(flops, cell.draws * cell.steps * 3e-4 + 1.2e-10 * flops, 2e8)
    numbers = float(cell.draws) * (cell.width + TESTS) * cell.dimension
    return Cost(40 * numbers, cell.draws * 2e-3 + 5e-7 * numbers, 2e8 + 100.0 * cell.width)


EXPERIMENTS.register("torus_regression")(
    Experiment(
        summary="Learning a wave on a torus by the nearest point or a network: error against points and dimension",
        stage="sample",
        cell=TorusCell,
        cost=cost,
        run=run,
        example=probe_example(
            "error", {"dimension": 2}, {"width": [1000, 2000, 4000, 8000]}, predicted=-0.5, smoke={"draws": 2}
        ),
    )
)
