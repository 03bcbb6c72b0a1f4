"""Accelerated against plain SGD for linear regression on Gaussian data, in every eigendirection of the covariance.

d = `width` features of variance λ_i = i^(−decay), labels x·w* + noise of sd σ = `noise`, batch 1, errors w − w*. The
method of P. Jain et al. (2018), as X. Li, Y. Deng, J. Wu, D. Zhou and Q. Gu, Risk bounds of accelerated SGD for
overparameterized linear regression (2023), have it: y = αw + (1 − α)z, w ← y − δg, z ← βy + (1 − β)z − γg with g the
gradient at y, α = 1/(1 + β), δ = `learning_rate`, γ = `acceleration`·δ, β = `momentum`; SGD is γ = δ, where z = w
throughout. Both see the same data. At noise 0 the error is called bias; from no error, variance.
Probes (step = updates):
- `rate_share` (layer = i; bias from 1 in every direction): decay rate of |E error_i| under SGD over that under ASGD, by
  BATCHES parts of the draws, between a quarter of 1/(δλ_i) updates and all, for the λ_i at which those fit;
- `variance_share` (layer = i): mean square of error_i under SGD over that under ASGD;
- `risk_ratio`: mean of Σ λ_i error_i² under ASGD over that under SGD; `risk_share`, its inverse.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.random_network import generator
from muster.sampling.tables import Row, outcome

Array = NDArray[np.float64]
BATCHES = 16


class AcceleratedCell(Cell):
    """One pair of SGD and accelerated SGD."""

    decay: float = Field(2.0, ge=0, le=20, description="Exponent of the spectrum i^(−decay)")
    learning_rate: float = Field(0.1, gt=0, lt=2, description="δ, of both")
    acceleration: float = Field(4.0, ge=1, le=1e3, description="γ/δ")
    momentum: float = Field(0.012, gt=0, lt=1, description="β")
    first: int = Field(1, ge=1, description="First eigendirection with an error of 1 at the start")
    last: int = Field(0, ge=0, description="Last such direction; 0: no error at the start")
    noise: float = Field(0.0, ge=0, le=1e3, description="σ of the labels")
    updates: int = Field(1000, ge=8, multiple_of=8, le=10**7, description="Updates")
    draws: int = Field(1600, ge=4 * BATCHES, multiple_of=BATCHES, le=10**7, description="Independent runs")

    @model_validator(mode="after")
    def _something_to_see(self) -> Self:
        if self.noise == 0 and not self.first <= self.last <= self.width:
            raise ValueError("without noise give an error at the start: first ≤ last ≤ width")
        return self

    @property
    def variances(self) -> Array:
        """λ [d]."""
        return np.asarray(np.arange(1, self.width + 1.0) ** -self.decay)


METHODS: tuple[Literal["sgd", "asgd"], ...] = ("sgd", "asgd")


def step(cell: AcceleratedCell, method: str, w: Array, z: Array, x: Array, noise: Array) -> tuple[Array, Array]:
    """One update of the errors w and z [draws, d] on samples x [draws, d] with label noise [draws]."""
    beta, delta = cell.momentum, cell.learning_rate
    gamma = delta * (cell.acceleration if method == "asgd" else 1.0)
    y = (w + beta * z) / (1 + beta)
    g = (np.einsum("nd,nd->n", x, y) - noise)[:, None] * x
    return y - delta * g, beta * y + (1 - beta) * z - gamma * g


def checkpoints(cell: AcceleratedCell) -> list[int]:
    """An eighth, a quarter, a half and all of the updates."""
    return [cell.updates // part for part in (8, 4, 2, 1)]


def windows(cell: AcceleratedCell) -> dict[int, tuple[int, int]]:
    """Updates between which the rate of direction i (from 1) is measured, for those whose window fits."""
    ends = np.ceil(1 / (cell.learning_rate * cell.variances)).astype(int)
    return {i: (end // 4, end) for i, end in enumerate(ends.tolist(), start=1) if 4 <= end <= cell.updates}


def simulate(cell: AcceleratedCell, rng: np.random.Generator) -> dict[str, dict[int, Array]]:
    """Errors [draws, d] of each method at the checkpoints and the ends of the windows."""
    wanted = {*checkpoints(cell), *(end for ends in windows(cell).values() for end in ends)}
    inside = (np.arange(1, cell.width + 1) >= cell.first) & (np.arange(1, cell.width + 1) <= cell.last)
    start = np.broadcast_to(inside.astype(float), (cell.draws, cell.width))
    states = {method: (start, start) for method in METHODS}
    found: dict[str, dict[int, Array]] = {method: {} for method in METHODS}
    for update in range(1, cell.updates + 1):
        x = rng.standard_normal((cell.draws, cell.width)) * np.sqrt(cell.variances)
        noise = cell.noise * rng.standard_normal(cell.draws)
        for method in METHODS:
            states[method] = step(cell, method, *states[method], x, noise)
            if update in wanted:
                found[method][update] = states[method][0]
    return found


def _rate(errors: dict[int, Array], direction: int, begin: int, end: int) -> Array:
    """Decay rate of |E error| an update, from each of BATCHES parts of the draws."""
    first, last = (np.abs(errors[at][:, direction - 1].reshape(BATCHES, -1).mean(axis=1)) for at in (begin, end))
    return np.asarray(np.log(first / last) / (end - begin))


def run(cell: AcceleratedCell, context: Context) -> Outcome:
    """Run both methods on the same data."""
    found = simulate(cell, generator(cell))
    rows: list[Row] = []
    if cell.noise == 0 and (cell.first, cell.last) == (1, cell.width):
        for i, (begin, end) in windows(cell).items():
            sgd, asgd = (_rate(found[method], i, begin, end) for method in METHODS)
            rows.append((end, "rate_share", i, *ratio_of_means(sgd, asgd)))
    for at in checkpoints(cell):
        squares = [found[method][at] ** 2 for method in METHODS]
        sgd, asgd = (each @ cell.variances for each in squares)
        rows.append((at, "risk_ratio", 1, *ratio_of_means(asgd, sgd)))
        rows.append((at, "risk_share", 1, *ratio_of_means(sgd, asgd)))
        rows.append((at, "risk", 1, *mean_over_draws(asgd)))
        if cell.last == 0:
            for i in range(cell.width):
                rows.append((at, "variance_share", i + 1, *ratio_of_means(*(each[:, i] for each in squares))))
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: AcceleratedCell) -> Cost:
    """A normal number and two updates of two vectors."""
    numbers = float(cell.updates) * cell.draws * cell.width
    return Cost(25 * numbers, 4e-8 * numbers + 1e-4 * cell.updates, 2e8)


EXPERIMENTS.register("accelerated_sgd")(
    Experiment(
        summary="Accelerated against plain SGD for linear regression: bias, variance and risk by eigendirection",
        stage="sample",
        cell=AcceleratedCell,
        cost=cost,
        run=run,
        example=probe_example(
            "risk_ratio",
            {"width": 8, "first": 4, "last": 8, "updates": 400, "draws": 640},
            {"acceleration": [2, 4, 8]},
            along="acceleration",
            select={"step": 400},
            smoke={"draws": 64},
        ),
    )
)
