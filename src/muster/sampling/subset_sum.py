"""Approximating a weight by pruning: the subset of n random weights whose sum comes nearest to a target.

n = `width` weights, uniform on [−1, 1] (`weights` single) or products of two such (product, as in a random layer of
twice the depth); TARGETS targets uniform on [−½, ½]; A. Pensia, S. Rajput, A. Nagle, H. Vishwakarma and D.
Papailiopoulos, Optimal lottery tickets via SubsetSum (2020). 2ⁿ sums are spread like a normal variable of variance ∝ n,
so that the nearest of them is ∝ √n 2^(−n) away: derived here; a single weight is ∝ 1/n away. Probes, geometric means
over `draws` and targets, at layer 2ⁿ: `subset_error`, the distance over √n; `single_error`, that of the nearest weight.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome

Array = NDArray[np.float64]
TARGETS = 8


class SubsetSumCell(Cell):
    """One number of weights, n = `width` ≤ 24."""

    width: int = Field(ge=1, le=24, description="n, weights of which a subset is kept")
    weights: Literal["single", "product"] = Field("single", description="Uniform weights, or products of two")
    draws: int = Field(400, ge=2, le=10**6, description="Independent sets of weights")


def subset_sums(weights: Array) -> Array:
    """Sums of all subsets, [2ⁿ]."""
    sums = np.zeros(1)
    for weight in weights:
        sums = np.concatenate([sums, sums + weight])
    return sums


def log_distances(candidates: Array, targets: Array) -> Array:
    """ln of the distance of each target [T] to the nearest candidate, floored where a double cannot tell them apart."""
    nearest = np.array([np.abs(candidates - target).min() for target in targets])
    return np.log(np.maximum(nearest, 1e-15))


def run(cell: SubsetSumCell, context: Context) -> Outcome:
    """Search all subsets."""
    rng, errors = generator(cell), np.empty((cell.draws, 2))
    for draw in range(cell.draws):
        weights = rng.uniform(-1, 1, (2 if cell.weights == "product" else 1, cell.width)).prod(axis=0)
        targets = rng.uniform(-0.5, 0.5, TARGETS)
        errors[draw] = [log_distances(found, targets).mean() for found in (subset_sums(weights), weights)]
    subset, single = np.exp(errors).T
    found = {"subset_error": subset / np.sqrt(cell.width), "single_error": single}
    rows = [(0, probe, 2**cell.width, *geometric_mean(errors)) for probe, errors in found.items()]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: SubsetSumCell) -> Cost:
    """A difference of every sum from every target."""
    numbers = float(cell.draws) * 2**cell.width * (TARGETS + 2)
    return Cost(numbers, cell.draws * 1e-4 + 1.2e-9 * numbers, 2e8 + 40.0 * 2**cell.width)


EXPERIMENTS.register("subset_sum")(
    Experiment(
        summary="The subset of n random weights whose sum is nearest to a target: error against 2ⁿ",
        stage="sample",
        cell=SubsetSumCell,
        cost=cost,
        run=run,
        example=probe_example("single_error", {"draws": 400}, {"width": [4, 8, 12]}, predicted=-1, smoke={"draws": 20}),
    )
)
