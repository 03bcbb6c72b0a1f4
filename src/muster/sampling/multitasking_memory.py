"""Hebbian networks of diluted patterns, which keep several of them at a time.
K = `patterns` patterns of N = `width` entries, 0 with probability d = `dilution`, else ±1 evenly. Neurons σ_i = ±1 have
the fields Σ_μ ξ_i^μ m_μ without their own share, m_μ = Σ_i ξ_i^μ σ_i/N, and turn towards them in random order, a BLOCK
of N at a time, until none turns or SWEEPS are over: Glauber's dynamics at temperature 0. The start is the first
pattern, random where that has zeros. E. Agliari, A. Alessandrelli, A. Barra and F. Ricci-Tersenghi, Parallel learning
by multitasking neural networks (2023).

Probe `signal` (layer k): |m_k| at the end, mean over `draws`; the first pattern, then the others by size. `balance`:
the smallest of them over the largest.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
BLOCK, SWEEPS = 0.02, 30


class MultitaskingCell(Cell):
    """One size of a network and dilution of its patterns."""

    patterns: int = Field(3, ge=2, le=20, description="K, patterns that are kept")
    dilution: float = Field(0.2, gt=0, lt=1, description="d, probability that an entry is 0")
    draws: int = Field(16, ge=2, le=10**5, description="Independent networks")


def draw_patterns(cell: MultitaskingCell, rng: np.random.Generator) -> Array:
    """Patterns [K, N]."""
    shape = (cell.patterns, cell.width)
    return np.where(rng.random(shape) < cell.dilution, 0.0, 2.0 * rng.integers(2, size=shape) - 1)


def settle(patterns: Array, state: Array, rng: np.random.Generator) -> Array:
    """The state [N] that the dynamics comes to from a start; a field of 0 turns nothing."""
    n = len(state)
    state, own = state.copy(), np.square(patterns).sum(axis=0) / n
    overlaps = patterns @ state / n
    for _ in range(SWEEPS):
        turned = 0
        for block in np.array_split(rng.permutation(n), max(1, min(n, round(1 / BLOCK)))):
            field = overlaps @ patterns[:, block] - own[block] * state[block]
            turns = block[field * state[block] < 0]
            state[turns] *= -1
            overlaps += 2 * patterns[:, turns] @ state[turns] / n
            turned += len(turns)
        if not turned:
            break
    return state


def signals(cell: MultitaskingCell, rng: np.random.Generator) -> Array:
    """|m_k| [K] of one network."""
    patterns = draw_patterns(cell, rng)
    start = np.where(patterns[0] == 0, 2.0 * rng.integers(2, size=cell.width) - 1, patterns[0])
    found = np.abs(patterns @ settle(patterns, start, rng)) / cell.width
    return np.concatenate([found[:1], np.sort(found[1:])[::-1]])


def run(cell: MultitaskingCell, context: Context) -> Outcome:
    """Let the networks settle."""
    rng = generator(cell)
    found = np.array([signals(cell, rng) for _ in range(cell.draws)])
    rows = probe_rows("signal", [mean_over_draws(column) for column in found.T])
    rows += probe_rows("balance", [geometric_mean(found.min(axis=1) / found.max(axis=1))])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: MultitaskingCell) -> Cost:
    """Some sweeps over all neurons."""
    numbers = float(cell.draws) * cell.width * cell.patterns
    return Cost(60 * numbers, 3e-7 * numbers + 5e-3 * cell.draws, 2e8 + 40.0 * cell.width * cell.patterns)


EXPERIMENTS.register("multitasking_memory")(
    Experiment(
        summary="Hebbian networks of diluted patterns at temperature 0: overlaps with all patterns at a time",
        stage="sample",
        cell=MultitaskingCell,
        cost=cost,
        run=run,
        example=probe_example(
            "signal",
            {"width": 1000, "draws": 8},
            {"dilution": [0.1, 0.2, 0.3]},
            along="dilution",
            select={"layer": 2},
            smoke={"draws": 2},
        ),
    )
)
