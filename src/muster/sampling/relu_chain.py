"""Finite-width fluctuations of random bias-free networks at criticality, without a single weight matrix.

A network of `depth` hidden layers of `width` = n units with Gaussian weights of variance C_W / fan-in, C_W = 2 (ReLU)
or 1 (tanh), fed one input. Let S_ℓ = (C_W/n) Σ_i φ(z_ℓi)² be C_W/n times the squared norm of layer ℓ's activations.
Given S_ℓ the next preactivations are independent N(0, S_ℓ), whatever came before: S_0 → S_1 → … is a Markov chain.

- ReLU is positively homogeneous, so S_ℓ = S_{ℓ−1} X_ℓ with independent X_ℓ = (2/n) Σ_i max(g_i, 0)²: a unit is active
  with probability ½, hence X_ℓ = (2/n) χ²_M with M ~ Binomial(n, ½). E X = 1 and E X² = 1 + 5/n exactly.
- tanh: S_ℓ = (1/n) Σ_i tanh²(√S_{ℓ−1} g_i), n normal numbers a layer.

Source: B. Hanin, Random fully connected neural networks as perturbatively solvable hierarchies (2022); Roberts, Yaida
and Hanin, The Principles of Deep Learning Theory (2021); the chain and the formulas above are derived here.

Probes at layer ℓ = 1 … depth: `log_norm_mean` and `log_norm_var` of log S_ℓ (over the draws that are not dead),
`alive_share` (S_ℓ > 0), `kurtosis_ratio` E z⁴ / (3 (E z²)²) of the next preactivation z, and `norm_var_relative`
Var(S_ℓ)/(E S_ℓ)², which is kurtosis_ratio − 1.
"""

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.tables import Estimate, Moments, outcome, probe_rows

RELU_CHUNK = 100_000  # draws at a time
TANH_CHUNK = 250_000  # normal numbers at a time: they stay in the cache
SECONDS_PER_RELU_LAYER = 1.6e-7
SECONDS_PER_TANH_UNIT = 1.7e-8


class ReluChainCell(Cell):
    """One width of a random network, with every layer up to `depth`."""

    free_names: ClassVar[tuple[str, ...]] = ("activation",)  # its own two, not those of trained networks

    activation: Literal["relu", "tanh"] = Field("relu", description="relu (weight variance 2/n) or tanh (1/n)")
    draws: int = Field(100_000, ge=100, le=10**9, description="Random networks sampled")
    input_variance: float = Field(1.0, gt=0, le=1e6, description="S_0: variance of the first layer's preactivations")


def _relu(cell: ReluChainCell, rng: np.random.Generator) -> dict[str, list[Estimate]]:
    """Probes of the ReLU chain.

    S_ℓ² is so heavy-tailed that its sample mean misses the events that carry its expectation: at 5ℓ/n = 40 a million
    draws fall short by orders of magnitude. Since the factors X_k are independent, E S_ℓ²/(E S_ℓ)² is the product over
    k ≤ ℓ of E X_k²/(E X_k)², each of which is light-tailed and estimated from its own draws; relative variances add up.
    """
    factors = [Moments() for _ in range(cell.depth)]
    log_norms = [Moments() for _ in range(cell.depth)]
    for start in range(0, cell.draws, RELU_CHUNK):
        count = min(RELU_CHUNK, cell.draws - start)
        log_norm = np.full(count, math.log(cell.input_variance))
        for factor, moments in zip(factors, log_norms, strict=True):
            active = rng.binomial(cell.width, 0.5, count)
            ratio = (4 / cell.width) * rng.standard_gamma(active / 2)  # χ²_m = 2 Gamma(m/2)
            factor.add(ratio)
            with np.errstate(divide="ignore"):
                log_norm += np.log(ratio)
            moments.add(log_norm[np.isfinite(log_norm)])

    kurtosis, product, relative_variance = [], 1.0, 0.0
    for factor in factors:
        excess = factor.relative_variance()
        product *= 1 + excess.value
        relative_variance += (excess.se / (1 + excess.value)) ** 2
        kurtosis.append(Estimate(product, product * math.sqrt(relative_variance)))
    shares = [moments.count / cell.draws for moments in log_norms]
    return {
        "alive_share": [Estimate(share, math.sqrt(share * (1 - share) / cell.draws)) for share in shares],
        "kurtosis_ratio": kurtosis,
        "log_norm_mean": [moments.mean() for moments in log_norms],
        "log_norm_var": [moments.variance() for moments in log_norms],
        "norm_var_relative": [Estimate(ratio.value - 1, ratio.se) for ratio in kurtosis],
    }


def _tanh(cell: ReluChainCell, rng: np.random.Generator) -> dict[str, list[Estimate]]:
    """Probes of the tanh chain; its norms are bounded, so plain moments serve."""
    norms = [Moments() for _ in range(cell.depth)]
    log_norms = [Moments() for _ in range(cell.depth)]
    chunk = max(1, TANH_CHUNK // cell.width)
    for start in range(0, cell.draws, chunk):
        count = min(chunk, cell.draws - start)
        norm = np.full(count, cell.input_variance)
        for norm_moments, log_moments in zip(norms, log_norms, strict=True):
            h = rng.standard_normal((count, cell.width), dtype=np.float32)
            h *= np.sqrt(norm, dtype=np.float32, casting="same_kind")[:, None]
            np.tanh(h, out=h)
            norm = np.einsum("ij,ij->i", h, h).astype(np.float64) / cell.width
            norm_moments.add(norm)
            log_moments.add(np.log(norm))
    relative = [moments.relative_variance() for moments in norms]
    return {
        "alive_share": [Estimate(1.0, 0.0)] * cell.depth,
        "kurtosis_ratio": [Estimate(1 + excess.value, excess.se) for excess in relative],
        "log_norm_mean": [moments.mean() for moments in log_norms],
        "log_norm_var": [moments.variance() for moments in log_norms],
        "norm_var_relative": relative,
    }


SAMPLERS = {"relu": _relu, "tanh": _tanh}


def cost(cell: ReluChainCell) -> Cost:
    """Time of the random numbers, which is nearly all of it; measured on one core."""
    layers = cell.draws * cell.depth
    if cell.activation == "relu":
        return Cost(10.0 * layers, SECONDS_PER_RELU_LAYER * layers, 2e8)
    return Cost(4.0 * layers * cell.width, SECONDS_PER_TANH_UNIT * layers * cell.width, 3e8)


def run(cell: ReluChainCell, context: Context) -> Outcome:
    """Sample the chain. Cells of different width or depth use independent random numbers."""
    rng = np.random.default_rng([cell.seed, cell.width, cell.depth])
    estimates = SAMPLERS[cell.activation](cell, rng)
    rows = [row for probe, values in estimates.items() for row in probe_rows(probe, values)]
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("relu_chain")(
    Experiment(
        summary="Norm fluctuations of random ReLU and tanh networks, sampled layer by layer without matrices",
        stage="sample",
        cell=ReluChainCell,
        cost=cost,
        run=run,
        example=probe_example(
            "log_norm_var",
            {"activation": "relu", "depth": 16, "draws": 20_000},
            {"width": [64, 128, 256, 512]},
            select={"layer": 16},
            smoke={"draws": 1000},
            predicted=-1,
        ),
    )
)
