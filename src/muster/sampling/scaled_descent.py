"""Gradient descent, plain and preconditioned, on an ill-conditioned matrix that is factorised from full measurements.

Target M = diag(s_1 … s_r) with s from 1 down to 1/`condition`, equally spaced on a log scale; X has `rank` + `excess`
columns and starts Gaussian. With the residual R = XXᵀ − M:
- `gd`: X ← X − η R X, descent on ¼‖R‖²_F. Near 0 the direction of s_i grows by the factor 1 + η s_i an update, so that
  the weakest takes ∝ κ updates;
- `scaled`: X ← X − η R X (XᵀX + λ1)⁻¹, ScaledGD(λ) of X. Xu, Y. Shen, Y. Chi and C. Ma, The power of preconditioning in
  overparameterized low-rank matrix sensing (2023), with λ = `damping`·s_r: the weakest then grows by 1 + η/damping
  an update, whatever κ is.

Probe `updates`: the mean number of updates after which ‖R‖_F ≤ `accuracy`·s_r, so that every direction is learned. The
start has size `init`·√s_r, so that the weakest direction has equally far to grow at every condition number.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.factorization import LowRankCell
from muster.sampling.tables import outcome, probe_rows

SECONDS_PER_UPDATE = 4e-5  # of any size, and
SECONDS_PER_FLOP = 2e-10


class ScaledDescentCell(LowRankCell):
    """One factorisation of a target."""

    method: Literal["gd", "scaled"] = Field("gd", description="gd: gradient descent; scaled: ScaledGD(λ)")
    condition: float = Field(gt=1, le=1e6, description="κ, largest over smallest singular value of the target")
    rank: int = Field(3, ge=2, le=1000, description="Rank of the target")
    excess: int = Field(3, ge=0, le=1000, description="Columns beyond the rank")
    rate: float = Field(0.3, gt=0, lt=1, description="η; gd is stable below 1, half of 2 over the curvature 2·s_1")
    damping: float = Field(1.0, gt=0, le=1e3, description="λ over the smallest singular value")
    init: float = Field(1e-3, gt=0, le=1, description="Size of the start over √(smallest singular value)")
    accuracy: float = Field(0.1, gt=0, lt=1, description="Error that ends a run, over the smallest singular value")
    max_updates: int = Field(1_000_000, ge=1, le=10**8, description="Updates after which a run counts as failed")
    draws: int = Field(16, ge=2, le=10**6, description="Independent starts")


def descend(cell: ScaledDescentCell, rng: np.random.Generator) -> NDArray[np.int64]:
    """Updates that each start needed, [draws]. Raises MusterError when one is not done after `max_updates`."""
    n, columns, weakest = cell.width, cell.rank + cell.excess, 1 / cell.condition
    target = np.zeros(n)
    target[: cell.rank] = np.geomspace(1, weakest, cell.rank)
    x = cell.init * math.sqrt(weakest / n) * rng.standard_normal((cell.draws, n, columns))
    done = np.full(cell.draws, -1)
    for update in range(cell.max_updates + 1):
        transposed = np.swapaxes(x, -1, -2)
        residual = x @ transposed - np.diag(target)
        reached = np.square(residual).sum(axis=(-1, -2)) <= (cell.accuracy * weakest) ** 2
        done[(done < 0) & reached] = update
        if (done >= 0).all():
            return done
        step = residual @ x
        if cell.method == "scaled":
            gram = transposed @ x + cell.damping * weakest * np.eye(columns)
            step = np.swapaxes(np.linalg.solve(gram, np.swapaxes(step, -1, -2)), -1, -2)
        x = x - cell.rate * step
    remedy = "Raise max_updates, or lower condition"
    raise MusterError("max_updates", f"{(done < 0).sum()} starts not done after {cell.max_updates} updates", remedy)


def run(cell: ScaledDescentCell, context: Context) -> Outcome:
    """Descend from random starts. Cells of different width or condition use independent random numbers."""
    rng = np.random.default_rng([cell.seed, cell.width, round(cell.condition * 1000)])
    rows = probe_rows("updates", [mean_over_draws(descend(cell, rng).astype(float))])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: ScaledDescentCell) -> Cost:
    """Two products an update; the updates are those in which the weakest direction grows to its size."""
    growth = cell.rate / cell.condition if cell.method == "gd" else cell.rate / cell.damping
    updates = math.log(cell.width / cell.init) / math.log1p(growth)
    flops = 4.0 * updates * cell.draws * cell.width**2 * (cell.rank + cell.excess)
    return Cost(flops, updates * SECONDS_PER_UPDATE + flops * SECONDS_PER_FLOP, 2e8)


EXPERIMENTS.register("scaled_descent")(
    Experiment(
        summary="Updates that gradient descent and ScaledGD(λ) need on an ill-conditioned low-rank factorisation",
        stage="sample",
        cell=ScaledDescentCell,
        cost=cost,
        run=run,
        example=probe_example(
            "updates",
            {"width": 20, "rank": 3, "excess": 3, "draws": 16},
            {"method": ["gd", "scaled"], "condition": [4, 8, 16]},
            along="condition",
            by=["method"],
            smoke={"draws": 2},
            where={"method": "scaled"},
        ),
    )
)
