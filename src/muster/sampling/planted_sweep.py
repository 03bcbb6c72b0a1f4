"""Learning-rate sweeps with a planted law of the optimum: what the flow from losses to verdicts must find again.

A run of width n at the rate η has the loss L exp(κ u² + σ u³ + ε) with u = log2 η − log2 η*(n) in octaves, as pilots of
trained networks show it near the optimum: κ the curvature of its basin, σ how far it leans, ε the noise of one run. The
optimum lies at

    ln η*(n) = ln η₀ + b ln(n/n₀) + τ g(n)     law `power`
    ln η*(n) = ln η₀ + ln(1 − c n^(−½)) + τ g(n)     law `limit`

with g(n) standard normal, one for each width and seed: the scatter of shapes about the line. `limit` is an optimum that
converges as the transfer theorem allows (Yang & Hu 2021: at O(n^−½)). Nothing is trained: the outcome is known.
"""

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Job, Outcome

BASE_WIDTH = 64  # n₀
LAWS = ("power", "limit")


class PlantedSweepCell(Job):
    """One width and seed of a sweep whose optimum is known."""

    key_axes: ClassVar[tuple[str, ...]] = ("width", "law", "strength", "seed")
    member_axes: ClassVar[tuple[str, ...]] = ("log2_lr",)

    width: int = Field(ge=1, description="n, the axis over which the optimum moves")
    law: Literal["power", "limit"] = Field("power", description="How it moves: (n/64)^strength, or 1 − strength·n^−½")
    strength: float = Field(allow_inf_nan=False, description="The exponent b of `power`, or c of `limit`")
    seed: int = Field(ge=0, description="Replicate: scatter and noise")
    log2_lr: list[float] = Field(min_length=1, description="Members: log2 of the learning rate")
    centre: float = Field(-6.0, allow_inf_nan=False, description="log2 η₀")
    curvature: float = Field(0.018, gt=0, allow_inf_nan=False, description="κ, of ln loss per octave²")
    lean: float = Field(0.0, allow_inf_nan=False, description="σ, of ln loss per octave³")
    noise: float = Field(0.0015, ge=0, allow_inf_nan=False, description="Standard deviation of ε")
    scatter: float = Field(0.02, ge=0, allow_inf_nan=False, description="τ, of ln η* about its law")

    @property
    def label(self) -> str:
        return f"w{self.width}-{self.law}{self.strength:g}-s{self.seed}"


def log_optimum(cell: PlantedSweepCell) -> float:
    """ln η*(n) by the law, without scatter. Raises ValueError where `limit` leaves no rate: c ≥ √n."""
    start = cell.centre * math.log(2)
    if cell.law == "power":
        return start + cell.strength * math.log(cell.width / BASE_WIDTH)
    return start + math.log1p(-cell.strength / math.sqrt(cell.width))


def losses(cell: PlantedSweepCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """Loss [G] at each rate of the cell."""
    optimum = (log_optimum(cell) + cell.scatter * rng.standard_normal()) / math.log(2)
    u = np.asarray(cell.log2_lr) - optimum
    noise = cell.noise * rng.standard_normal(len(u))
    return np.asarray(np.exp(cell.curvature * u**2 + cell.lean * u**3 + noise))


def run(cell: PlantedSweepCell, context: Context) -> Outcome:
    """Draw one run a rate."""
    import pandas as pd

    # Rates are no part of the seed: another grid has the same optimum.
    strength = round(1e6 * cell.strength) % 2**32
    rng = np.random.default_rng([cell.seed, cell.width, LAWS.index(cell.law), strength])
    found = losses(cell, rng)
    runs = pd.DataFrame(
        {"log2_lr": cell.log2_lr, "diverged": False, "final_train_loss": found, "final_eval_loss": found}
    )
    runs = runs.assign(steps=0, parameters=0, flops=math.nan, seconds=math.nan)
    curves = pd.DataFrame({"log2_lr": [], "step": [], "train_loss": [], "eval_loss": []})
    probes = pd.DataFrame(
        {
            "log2_lr": cell.log2_lr[:1],
            "step": 0,
            "probe": "planted_optimum",
            "layer": 0,
            "value": log_optimum(cell),
            "se": 0.0,
        }
    )
    return Outcome(runs, curves, probes)


EXPERIMENTS.register("planted_sweep")(
    Experiment(
        summary="Learning-rate sweeps whose optimum moves by a known law: a control of the instrument",
        stage="sample",
        cell=PlantedSweepCell,
        cost=lambda cell: Cost(100.0 * len(cell.log2_lr), 0.02, 2e8),
        run=run,
        example=Example(
            {"noise": 0.0015},
            [
                {
                    "width": [64, 96, 128, 192, 256],
                    "strength": [0, -0.5],
                    "seeds": 1,
                    "log2_lr": {"from": -10, "to": -4, "step": "1/2"},
                }
            ],
            {
                "estimator": "lr_transfer",
                "table": "runs",
                "response": "final_train_loss",
                "along": "width",
                "by": ["strength"],
            },
            where={"strength": -0.5},
            figure={"plot": "lr_sweep"},
            predicted=-0.5,
        ),
    )
)
