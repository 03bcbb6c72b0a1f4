"""Low-rank matrices from grossly corrupted measurements, by sub-gradients from a small start.

M = UUᵀ with r = `rank` orthonormal columns in d = `width` dimensions, measured as y_i = ⟨A_i, M⟩ by m = `measurements`
symmetric Gaussian A_i, so that ⟨A, S⟩ ~ N(0, ‖S‖²) for symmetric S; a share `corruption` of the y_i gets noise of
standard deviation OUTLIER. X has `columns` ≥ r columns, starts `init` × Gaussian of variance 1/d and descends on
(1/m) Σ |⟨A_i, XXᵀ⟩ − y_i| (`residuals` absolute) or on half their squares with steps STEP, which decay after
DECAY_FROM updates; J. Ma and S. Fattahi, Global convergence of sub-gradient method for robust matrix recovery (2022).
Probes over `draws`:
- `growth`: e^(κt) at the update t when the relative error falls below ½, κ the rate at which X grows while it is small
  (`growth_rate`): ∝ 1/init (absolute only); a geometric mean;
- `final_error`: ‖XXᵀ − M‖_F/‖M‖_F after all updates, a geometric mean.
"""

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.sketching import orthonormal
from muster.sampling.tables import outcome, probe_rows

Matrix = NDArray[np.float64]
OUTLIER, STEP, DECAY_FROM, DECAY = 10.0, 0.02, 800, 350.0


class RobustSensingCell(Cell):
    """One start of one problem."""

    rank: int = Field(2, ge=1, le=100, description="Rank of the target")
    columns: int = Field(12, ge=1, le=1000, description="Columns of the factor: the rank that is allowed for")
    measurements: int = Field(700, ge=1, le=10**6, description="m")
    corruption: float = Field(0.2, ge=0, lt=1, description="Share of the measurements that are corrupted")
    residuals: Literal["absolute", "squared"] = Field("absolute", description="What of them is summed")
    init: float = Field(1e-4, gt=0, le=1, description="Size of the start")
    updates: int = Field(2500, ge=10, le=10**6, description="Updates")
    draws: int = Field(8, ge=2, le=10**5, description="Independent problems")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.rank <= self.columns <= self.width:
            raise ValueError(f"{self.columns} columns lie outside rank {self.rank} to width {self.width}")
        return self

    @property
    def growth_rate(self) -> float:
        """κ. E A sign(⟨A, M⟩ + s) = √(2/π) M/√(‖M‖² + Var s), ‖M‖² = r, and the factor's gradient has twice that."""
        clean, rank = 1 - self.corruption, self.rank
        shares = clean / math.sqrt(rank) + self.corruption / math.sqrt(rank + OUTLIER**2)
        return 2 * STEP * math.sqrt(2 / math.pi) * shares


def descend(cell: RobustSensingCell, rng: np.random.Generator) -> Matrix:
    """Relative errors before every update and after the last, [updates + 1], of one problem."""
    d, m = cell.width, cell.measurements
    u = orthonormal(rng, 1, cell.rank, d)[0]
    target = u.T @ u
    gaussian = rng.standard_normal((m, d, d))
    a = ((gaussian + gaussian.swapaxes(1, 2)) / 2).reshape(m, d * d)
    y = a @ target.ravel() + OUTLIER * rng.standard_normal(m) * (np.arange(m) < round(cell.corruption * m))
    x = cell.init / math.sqrt(d) * rng.standard_normal((d, cell.columns))
    errors = []
    for t in range(cell.updates + 1):
        product = x @ x.T
        errors.append(np.linalg.norm(product - target))
        residual = a @ product.ravel() - y
        slope = np.sign(residual) if cell.residuals == "absolute" else residual
        step = STEP * math.exp(-max(t - DECAY_FROM, 0) / DECAY)
        x = x - 2 * step / m * (slope @ a).reshape(d, d) @ x
    return np.array(errors) / math.sqrt(cell.rank)


def run(cell: RobustSensingCell, context: Context) -> Outcome:
    """Recover every target. Raises MusterError when one is not half recovered within the updates (absolute)."""
    rng = generator(cell)
    errors = np.array([descend(cell, rng) for _ in range(cell.draws)])
    rows = probe_rows("final_error", [geometric_mean(errors[:, -1])])
    if cell.residuals == "absolute":
        if not (errors < 0.5).any(axis=1).all():
            raise MusterError("updates", "a target is not half recovered", "Raise updates or measurements")
        rows += probe_rows("growth", [geometric_mean(np.exp(cell.growth_rate * (errors < 0.5).argmax(axis=1)))])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: RobustSensingCell) -> Cost:
    """Two products with all measurements an update."""
    numbers = float(cell.draws) * cell.updates * cell.measurements * cell.width**2
    return Cost(
        4 * numbers, 3e-5 * cell.draws * cell.updates + 1e-9 * numbers, 2e8 + 24.0 * cell.measurements * cell.width**2
    )


EXPERIMENTS.register("robust_sensing")(
    Experiment(
        summary="Matrix sensing with corrupted measurements by sub-gradients: escape from the start, final error",
        stage="sample",
        cell=RobustSensingCell,
        cost=cost,
        run=run,
        example=probe_example(
            "growth",
            {"width": 6, "rank": 1, "columns": 6, "measurements": 300, "updates": 900, "draws": 4},
            {"init": [1e-1, 1e-2, 1e-3]},
            along="init",
            predicted=-1,
        ),
    )
)
