"""Least-squares temporal differences (LSTD) on random features: the Bellman error around as many features as visited
states.

A Markov reward process of `states` states in `dimension` dimensions, each with BRANCHES successors of random
probabilities; rewards are linear in the state plus noise of sd NOISE, both in units of the linear part's sd. m =
`width` distinct states are visited once, Φ [m, N] their ReLU features of random weights and Φ' those of one successor
each; θ solves [Φᵀ(Φ − γΦ')/m + λ] θ = Φᵀr/m, λ = `ridge`. D. Brellmann, E. Berthier, D. Filliat and G. Frehse, On
double descent in reinforcement learning with LSTD and random features (2023). Errors have heavy tails: medians over
`draws` processes, from BATCHES parts. Probes:
- `bellman_error` (layer = N): the mean over all states of (r + γ E V(s') − V(s))²;
- `peak_ratio`: N/m of the largest error among RATIOS; `peak_height`: the error at N = m over that at 4 m.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome, probe_rows

Matrix = NDArray[np.float64]
RATIOS = np.array([0.2, 0.35, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 8.0])  # N/m
BRANCHES, NOISE, BATCHES = 4, 0.3, 8


class TemporalDifferenceCell(Cell):
    """One number of visited states, m = `width`."""

    states: int = Field(300, ge=2, le=10**5, description="States of the process")
    dimension: int = Field(20, ge=1, le=10**4, description="Dimensions of a state")
    discount: float = Field(0.9, ge=0, lt=1, description="γ")
    ridge: float = Field(1e-9, gt=0, le=1e6, description="λ")
    draws: int = Field(160, ge=BATCHES, le=10**6, description="Independent processes")


def values(visited: Matrix, successors: Matrix, rewards: Matrix, discount: float, ridge: float) -> Matrix:
    """θ [N] from features of the visited states and of their successors [m, N] and rewards [m]; with N > m through the
    m × m system, as (AB + λ)⁻¹A = A(BA + λ)⁻¹."""
    m, n = visited.shape
    change = (visited - discount * successors) / m
    if n <= m:
        return np.linalg.solve(visited.T @ change + ridge * np.eye(n), visited.T @ rewards / m)
    return np.asarray(visited.T @ np.linalg.solve(change @ visited.T + ridge * np.eye(m), rewards / m), float)


def bellman_errors(cell: TemporalDifferenceCell, sizes: list[int], rng: np.random.Generator) -> Matrix:
    """The error with the first N of one draw's features, [sizes]."""
    states = rng.standard_normal((cell.states, cell.dimension)) / np.sqrt(cell.dimension)
    rewards = states @ rng.standard_normal(cell.dimension) + NOISE * rng.standard_normal(cell.states)
    next_SxB = rng.integers(cell.states, size=(cell.states, BRANCHES))
    chances_SxB = rng.dirichlet(np.ones(BRANCHES), cell.states)
    features = np.maximum(states @ rng.standard_normal((cell.dimension, sizes[-1])), 0)
    expected = np.einsum("sb,sbn->sn", chances_SxB, features[next_SxB])
    visited = rng.choice(cell.states, cell.width, replace=False)
    branch = (chances_SxB[visited].cumsum(axis=1) < rng.random((cell.width, 1))).sum(axis=1).clip(max=BRANCHES - 1)
    reached = next_SxB[visited, branch]
    errors = []
    for n in sizes:
        some = features[:, :n]
        theta = values(some[visited], some[reached], rewards[visited], cell.discount, cell.ridge)
        errors.append(np.square(rewards + cell.discount * expected[:, :n] @ theta - some @ theta).mean())
    return np.array(errors)


def run(cell: TemporalDifferenceCell, context: Context) -> Outcome:
    """Learn the values of every process at every number of features."""
    rng, sizes = generator(cell), [round(ratio * cell.width) for ratio in RATIOS]
    errors = np.array([bellman_errors(cell, sizes, rng) for _ in range(cell.draws)])
    medians = np.array([np.median(part, axis=0) for part in np.array_split(errors, BATCHES)])
    rows: list[Row] = [(0, "bellman_error", n, *geometric_mean(part)) for n, part in zip(sizes, medians.T, strict=True)]
    rows += probe_rows("peak_ratio", [mean_over_draws(RATIOS[medians.argmax(axis=1)])])
    heights = medians[:, RATIOS == 1] / medians[:, RATIOS == 4]
    rows += probe_rows("peak_height", [geometric_mean(heights[:, 0])])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: TemporalDifferenceCell) -> Cost:
    """Products of the features of visited states, features of all of them, and linear systems."""
    m, s, n = cell.width, cell.states, RATIOS * cell.width
    flops = cell.draws * float(np.sum(2 * m * n * np.minimum(m, n) + np.minimum(m, n) ** 3 + 4 * s * n))
    return Cost(flops, cell.draws * 2e-3 + 3e-10 * flops + 1e-8 * cell.draws * s * n.max(), 2e8 + 80.0 * s * n.max())


EXPERIMENTS.register("temporal_difference")(
    Experiment(
        summary="Least-squares temporal differences on random features: Bellman error against features over states",
        stage="sample",
        cell=TemporalDifferenceCell,
        cost=cost,
        run=run,
        example=probe_example(
            "peak_height", {"states": 100, "draws": 32}, {"width": [20, 30, 40]}, smoke={"draws": 8, "states": 60}
        ),
    )
)
