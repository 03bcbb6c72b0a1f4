"""Gradient flow on ¼‖XXᵀ − M‖² from a small, unaligned start: singular values are learned one after the other.

M = diag(1, 1/2, …, 1/`rank`, 0, …) in `width` = d dimensions, X has d columns and starts `init` × Gaussian of variance
1/d: dX/dt = (M − XXᵀ)X. While small, direction k grows as e^(σ_k t), so that σ_k t_k = ln(1/init) + O(1) at its half
time t_k, and the flow passes by the best approximation of every rank; J. Jin, Z. Li, K. Lyu, S. S. Du and J. D. Lee,
Understanding incremental learning of gradient descent (2023). Midpoint rule with steps STEP. Probes at layer k, over
`draws` starts:
- `growth`: e^(σ_k t_k), t_k when (XXᵀ)_kk = σ_k/2, a geometric mean: ∝ 1/init;
- `rank_error`: ‖XXᵀ − M_k‖_F/‖M_k‖_F at √(t_k t_{k+1}), M_k the best approximation of rank k < `rank`.
"""

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean, mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.float64]
STEP = 0.05  # of time: the midpoint rule lags by (σ STEP)²/6 of a time


class RankSequenceCell(Cell):
    """One size of the start."""

    rank: int = Field(4, ge=2, le=100, description="Rank of the target, with singular values 1, 1/2, 1/3, …")
    init: float = Field(1e-3, gt=0, le=1, description="Size of the start")
    draws: int = Field(16, ge=2, le=10**5, description="Independent starts")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rank > self.width:
            raise ValueError(f"rank {self.rank} exceeds width {self.width}")
        return self

    @property
    def horizon(self) -> float:
        """A time by which the weakest direction is learned: twice its growth, and a few of its time constants."""
        return self.rank * (2 * math.log(1 / self.init) + 12)


def flow(cell: RankSequenceCell, rng: np.random.Generator) -> tuple[Array, Array]:
    """(XXᵀ)_kk [steps, draws, rank] and squared distances from M_k, k < rank, [steps, draws, rank − 1]."""
    d, target = cell.width, np.zeros(cell.width)
    target[: cell.rank] = 1 / np.arange(1, cell.rank + 1)
    x = cell.init / math.sqrt(d) * rng.standard_normal((cell.draws, d, d))

    def velocity(x: Array) -> Array:
        return target[:, None] * x - x @ (np.swapaxes(x, 1, 2) @ x)

    strengths, distances = [], []
    for _ in range(math.ceil(cell.horizon / STEP)):
        product = x @ np.swapaxes(x, 1, 2)
        diagonal = np.diagonal(product, axis1=1, axis2=2)[:, : cell.rank]
        strengths.append(diagonal)
        # ‖P − M_k‖² = ‖P‖² − 2 Σ_{i ≤ k} σ_i P_ii + Σ_{i ≤ k} σ_i²
        squares = np.cumsum(target[: cell.rank] ** 2 - 2 * target[: cell.rank] * diagonal, axis=1)
        distances.append(np.square(product).sum(axis=(1, 2))[:, None] + squares[:, :-1])
        x = x + STEP * velocity(x + STEP / 2 * velocity(x))
        if (diagonal > 0.95 * target[: cell.rank]).all():
            break
    return np.array(strengths), np.array(distances)


def half_times(strengths: Array, target: Array) -> Array:
    """First times at which each strength [steps, draws, rank] reaches half its target, [draws, rank], interpolated; 0
    if it starts above. Raises MusterError when one is not reached."""
    above = strengths >= target / 2
    after = np.maximum(above.argmax(axis=0), 1)[None]
    low, high = (np.take_along_axis(strengths, index, axis=0)[0] for index in (after - 1, after))
    part = (target / 2 - low) / np.where(high > low, high - low, 1.0)
    times = np.where(above[0], 0.0, STEP * (after[0] - 1 + part))
    if not above.any(axis=0).all():
        raise MusterError(
            "init", "a direction is not learned within the horizon", "Give fewer or closer singular values"
        )
    return np.asarray(times, float)


def run(cell: RankSequenceCell, context: Context) -> Outcome:
    """Follow the flow from random starts."""
    strengths, distances = flow(cell, generator(cell))
    target = 1 / np.arange(1, cell.rank + 1)
    times = half_times(strengths, target)
    rows: list[Row] = [(0, "growth", k + 1, *geometric_mean(np.exp(target * times)[:, k])) for k in range(cell.rank)]
    between = np.rint(np.sqrt(times[:, :-1] * times[:, 1:]) / STEP).astype(int)[None]
    errors = np.sqrt(np.take_along_axis(distances, between, axis=0)[0] / np.cumsum(target**2)[:-1])
    rows += [(0, "rank_error", k + 1, *mean_over_draws(errors[:, k])) for k in range(cell.rank - 1)]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: RankSequenceCell) -> Cost:
    """Five products of d × d matrices a step."""
    steps = 0.6 * cell.horizon / STEP
    flops = 10.0 * steps * cell.draws * cell.width**3
    return Cost(flops, steps * 1e-4 + 4e-10 * flops, 2e8)


EXPERIMENTS.register("rank_sequence")(
    Experiment(
        summary="Gradient flow on a factorised matrix from a small start: when each singular value is learned",
        stage="sample",
        cell=RankSequenceCell,
        cost=cost,
        run=run,
        example=probe_example(
            "growth",
            {"width": 6, "rank": 3, "draws": 4},
            {"init": [1e-2, 1e-3, 1e-4]},
            along="init",
            by=["layer"],
            where={"layer": 1},
            predicted=-1,
        ),
    )
)
