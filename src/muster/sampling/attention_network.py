"""Likeness of tokens in deep random attention, with and without centered attention.

Tokens X [T, n] pass X_ℓ = X_{ℓ−1} + β A X_{ℓ−1} W with weights W of variance 1/n and β the `residual` strength; A is
the softmax over tokens of the scores q·k/√n, queries and keys being random maps of the tokens at unit mean square. A.
Ali, T. Galanti and L. Wolf, Centered self-attention layers (2023), trace the rise of the tokens' likeness to the rows
of A summing to one, and subtract 1/T from every entry. Derived here:

- Rows that sum to one pass the tokens' mean on, so that its square grows by 1 + β² a layer. Differences between
  tokens that are nearly alike see A = 1/T, which removes them: only the skip connection keeps them, at a constant
  size. `dispersion`, 1 − mean cosine, falls by 1 + β² a layer. From independent tokens, whose mean holds 1/T of the
  square, it is (T − 1)/(T − 1 + (1 + β²)^ℓ).
- Centered, A of nearly uniform scores is zero: the dispersion stays what it was.

Probes at layer ℓ, geometric means over the draws: `dispersion` and `dispersion_factor` (its growth in this layer).
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import chunks, dispersion, gaussian_weights, generator
from muster.sampling.tables import outcome, probe_rows

SECONDS_PER_WEIGHT = 5e-8


class AttentionCell(Cell):
    """One width and depth of a stack of random attention layers."""

    tokens: int = Field(32, ge=2, le=1000, description="Tokens")
    residual: float = Field(0.5, gt=0, le=10, description="β: strength of the attention against the skip connection")
    centered: bool = Field(False, description="Subtract 1/tokens from every attention weight")
    draws: int = Field(32, ge=2, le=10**5, description="Random networks sampled")


def attention(x_DxTxn: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Attention weights [D, T, T] with rows that sum to one."""
    count, _, width = x_DxTxn.shape
    unit = x_DxTxn / np.sqrt(np.square(x_DxTxn).mean(axis=-1, keepdims=True))
    queries = unit @ gaussian_weights(rng, count, width)
    keys = unit @ gaussian_weights(rng, count, width)
    scores = queries @ np.swapaxes(keys, -1, -2) / np.sqrt(width)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def sample_dispersions(cell: AttentionCell, rng: np.random.Generator) -> NDArray[np.float64]:
    """Dispersion of the tokens in X_0 … X_depth: [depth + 1, draws]."""
    parts = []
    for count in chunks(cell.draws, cell.width * (cell.width + cell.tokens)):
        x = rng.standard_normal((count, cell.tokens, cell.width))
        spread = [dispersion(x)]
        for _ in range(cell.depth):
            mixing = attention(x, rng) - (1 / cell.tokens if cell.centered else 0.0)
            x = x + cell.residual * (mixing @ x) @ gaussian_weights(rng, count, cell.width)
            x /= np.sqrt(np.square(x).mean(axis=(1, 2), keepdims=True))  # only ratios matter: keeps floats in range
            spread.append(dispersion(x))
        parts.append(np.array(spread))
    return np.concatenate(parts, axis=1)


def cost(cell: AttentionCell) -> Cost:
    """Normal numbers for three matrices a layer, and the products with them."""
    weights = 3.0 * cell.draws * cell.width**2 * cell.depth
    return Cost(2 * cell.tokens * weights, SECONDS_PER_WEIGHT * weights, 3e8)


def run(cell: AttentionCell, context: Context) -> Outcome:
    """Sample the stacks."""
    spread = sample_dispersions(cell, generator(cell))
    rows = probe_rows("dispersion", [geometric_mean(layer) for layer in spread[1:]])
    rows += probe_rows(
        "dispersion_factor",
        [geometric_mean(after / before) for before, after in itertools.pairwise(spread)],
    )
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("attention_network")(
    Experiment(
        summary="Likeness of tokens in deep random attention, plain or centered",
        stage="sample",
        cell=AttentionCell,
        cost=cost,
        run=run,
        example=probe_example(
            "dispersion_factor",
            {"tokens": 32, "centered": False, "width": 32, "depth": 40, "draws": 32},
            {"residual": [0.25, 0.5, 1.0]},
            along="residual",
            select={"layer": 40},
            smoke={"draws": 4},
        ),
    )
)
