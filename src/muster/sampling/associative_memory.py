"""Dense Hebbian networks taught by noisy examples: how many archetypes are stable.

K archetypes ξ ∈ {±1}^N, N = `width`; of each, M = `examples` examples that agree with it in a share (1 + r)/2 of the
entries, r = `quality`, are averaged to η̄ (supervised). With P = `bodies` neurons interacting the field on neuron i of
the state ξ¹ is h_i = Σ_μ η̄_i^μ [(1/N) Σ_{j≠i} η̄_j^μ ξ_j¹]^(P−1), and the neuron flips where h_i ξ_i¹ < 0; E. Agliari
et al., Dense Hebbian neural networks: a replica symmetric picture of supervised learning (2023). Given enough neurons
h_i ξ_i¹/r^P is normal with mean 1 and variance ρ + (1 + ρ)^P (2P − 3)!! K/N^(P−1), ρ = (1 − r²)/(M r²): derived here.

Archetypes are added one by one and fields summed up, so that one pass gives the flips at every K. Probe `capacity`: the
K at which a share CRITERION of the neurons flips, from BATCHES parts of the `draws`.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]
CRITERION = 0.05
BATCHES = 8


class AssociativeMemoryCell(Cell):
    """One size of a network."""

    bodies: int = Field(2, ge=2, le=4, description="P, neurons that interact")
    quality: float = Field(1.0, gt=0, le=1, description="r, correlation of an example with its archetype")
    examples: int = Field(1, ge=1, le=10**6, description="M, examples of each archetype")
    load: float = Field(0.5, gt=0, le=10, description="Archetypes that are added, over N^(P−1)")
    draws: int = Field(64, ge=BATCHES, le=10**6, multiple_of=BATCHES, description="Independent networks")

    @model_validator(mode="after")
    def _examples_matter(self) -> Self:
        if self.quality == 1 and self.examples > 1:
            raise ValueError("examples of quality 1 are all alike: give examples 1")
        return self

    @property
    def archetypes(self) -> int:
        """Archetypes that are added."""
        return max(2, round(self.load * self.width ** (self.bodies - 1)))


def fields(cell: AssociativeMemoryCell, rng: np.random.Generator) -> Array:
    """h_i ξ_i¹ with 1, 2, … archetypes, [archetypes, N], of one network. In the gauge of ξ¹ all its entries are 1."""
    archetypes = 2 * rng.integers(2, size=(cell.archetypes, cell.width), dtype=np.int8) - 1
    archetypes[0] = 1
    means = archetypes.astype(float)
    if cell.quality < 1:
        means *= 2 / cell.examples * rng.binomial(cell.examples, (1 + cell.quality) / 2, archetypes.shape) - 1
    overlaps = (means.sum(axis=1, keepdims=True) - means) / cell.width
    return np.cumsum(means * overlaps ** (cell.bodies - 1), axis=0)


def crossing(flips: Array) -> float:
    """The K at which shares of flips at K = 1, 2, … cross CRITERION: half above the number of those below it. The first
    crossing of a noisy curve comes too early, as the earliest of many; the number below has no such bias."""
    return float((flips < CRITERION).sum()) + 0.5


def run(cell: AssociativeMemoryCell, context: Context) -> Outcome:
    """Fill the networks. Raises MusterError where the shares of flips do not begin below the criterion or end above."""
    rng = generator(cell)
    flips = np.zeros((BATCHES, cell.archetypes))
    for draw in range(cell.draws):
        flips[draw % BATCHES] += (fields(cell, rng) < 0).mean(axis=1)
    flips *= BATCHES / cell.draws
    if not 1 < crossing(flips.mean(axis=0)) < 0.95 * cell.archetypes:
        raise MusterError("load", f"no {CRITERION:g} of flips between one and all archetypes", "Raise load or quality")
    found = np.array([crossing(part) for part in flips])
    return outcome(probe_rows("capacity", [mean_over_draws(found)]), flops=cost(cell).flops)


def cost(cell: AssociativeMemoryCell) -> Cost:
    """Some operations a neuron and archetype."""
    numbers = float(cell.draws) * cell.archetypes * cell.width
    return Cost(6 * numbers, 5e-8 * numbers, 2e8 + 40.0 * cell.archetypes * cell.width)


EXPERIMENTS.register("associative_memory")(
    Experiment(
        summary="Dense Hebbian networks taught by noisy examples: archetypes that are stable",
        stage="sample",
        cell=AssociativeMemoryCell,
        cost=cost,
        run=run,
        example=probe_example("capacity", {"bodies": 2, "draws": 16}, {"width": [50, 100, 200]}, predicted=1),
    )
)
