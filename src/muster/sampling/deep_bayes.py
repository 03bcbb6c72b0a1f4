"""Bayesian interpolation with deep linear networks: the posterior of the scale of the end-to-end vector.

L = `depth` hidden layers of N = `width` units, N₀ inputs, weights of variance 1 over fan-in. The end-to-end vector is
uniform in direction, and given u, the row vector of all layers but the first, N(0, s/N₀) with s = |u|² = Π χ²_N/N over
L independent factors. Interpolating P = `samples` data of full rank leaves s with density ∝ p(s) s^(−P/2) e^(−Pν/2s), ν
= N₀|θ*|²/P (`evidence`) the scale of the minimum-norm interpolant θ*, at which the evidence of a shallow prior is
highest. B. Hanin and A. Zlokapa, Bayesian interpolation with deep linear networks (2023); derived here. λ = LP/N is the
`effective_depth`. t = ln s is drawn from the prior and weighted. Probes over `draws`:
- `scale_share`: E[t | data]/ln ν, 1 at the maximum of the evidence;
- `effective_draws`: (Σw)²/Σw² over the draws (Kish 1965).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.random_network import chunks, generator
from muster.sampling.tables import Estimate, outcome, probe_rows

Array = NDArray[np.float64]
FEWEST = 1000  # effective draws: with fewer a handful of draws decide


class DeepBayesCell(Cell):
    """A network and its data. Of `width` and `effective_depth` one gives the other."""

    samples: int = Field(ge=1, le=10**6, description="P, interpolated data")
    evidence: float = Field(2.0, gt=0, le=100, description="ν, scale of the minimum-norm interpolant; not 1")
    effective_depth: float | None = Field(None, gt=0, le=1e6, description="LP/N; sets the width")
    draws: int = Field(200_000, ge=100, le=10**8, description="Draws of the prior")

    @model_validator(mode="before")
    @classmethod
    def _width(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "width" in values or values.get("effective_depth") is None:
            return values
        return {**values, "width": max(1, round(values["depth"] * values["samples"] / values["effective_depth"]))}

    @model_validator(mode="after")
    def _has_a_scale(self) -> "DeepBayesCell":
        if self.evidence == 1:
            raise ValueError("evidence 1 leaves no scale to learn: ln ν = 0")
        return self


def log_scales(cell: DeepBayesCell, rng: np.random.Generator) -> Array:
    """t = ln s of the prior, [draws]: the logarithm of a gamma variable is drawn with its own, small, shape."""
    parts = [
        np.log(rng.standard_gamma(cell.width / 2, (count, cell.depth)) * (2 / cell.width)).sum(axis=1)
        for count in chunks(cell.draws, cell.depth)
    ]
    return np.concatenate(parts)


def posterior_mean(t: Array, samples: int, evidence: float) -> tuple[Estimate, float]:
    """E[t | data] with its error (self-normalized importance sampling, delta method), and the effective draws."""
    log_weights = -samples / 2 * (t + evidence * np.exp(-t))
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = float(weights @ t)
    return Estimate(mean, float(np.sqrt(np.square(weights * (t - mean)).sum()))), float(1 / np.square(weights).sum())


def run(cell: DeepBayesCell, context: Context) -> Outcome:
    """Weight the prior's draws. Raises MusterError where too few of them count."""
    mean, effective = posterior_mean(log_scales(cell, generator(cell)), cell.samples, cell.evidence)
    if effective < FEWEST:
        remedy = "Raise draws, or bring evidence nearer to 1"
        raise MusterError("draws", f"only {effective:.0f} of {cell.draws} draws count", remedy)
    scale = math.log(cell.evidence)
    rows = probe_rows("scale_share", [Estimate(mean.value / scale, mean.se / abs(scale))])
    rows += probe_rows("effective_draws", [Estimate(effective, math.nan)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: DeepBayesCell) -> Cost:
    """A gamma number and a logarithm for each draw and layer."""
    numbers = float(cell.draws) * cell.depth
    return Cost(numbers, 5e-8 * numbers, 2e8)


EXPERIMENTS.register("deep_bayes")(
    Experiment(
        summary="Posterior scale of a deep linear network that interpolates data, by importance sampling",
        stage="sample",
        cell=DeepBayesCell,
        cost=cost,
        run=run,
        example=probe_example(
            "scale_share",
            {"depth": 4, "samples": 20, "draws": 100_000},
            {"effective_depth": [0.5, 1, 2]},
            along="effective_depth",
            smoke={"draws": 20_000},
        ),
    )
)
