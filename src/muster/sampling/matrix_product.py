"""Singular values of products of N independent n×n random matrices with entries of mean 0 and variance 1/n.

`width` is n, `depth` is N. B. Hanin and T. Jiang, Global universality of singular values in products of many large
random matrices (2025): the squared singular values to the power 1/N become uniform on [0, 1] as n, N → ∞, whatever the
law of the entries and the relative rate. At N = ∞ the Gaussian case is exact: the Lyapunov exponents are
λ_i = ½ [log(2/n) + ψ((n − i + 1)/2)], i = 1 … n (C. M. Newman, The distribution of Lyapunov exponents, 1986).

Probes (mean over the draws, with its standard error):
- `ks_uniform`: Kolmogorov–Smirnov distance to U[0, 1] of one product's σ_i^(2/N), with its true singular values σ_i;
- `ks_limit`: the same distance for exp(2 λ̂_i), λ̂ averaged over draws: an estimate of N = ∞ (se by the jackknife);
- `lyapunov` (layer = i): λ̂_i = (1/N) Σ log R_ii of the QR iteration.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.tables import Estimate, outcome, probe_rows

BATCH_ENTRIES = 1_000_000  # matrix entries held at a time
CONDITION_DIGITS = 6.0  # decimal digits of accuracy given up between two orthogonalisations
DIRECT_SPREAD = 20.0  # log condition number up to which a dense SVD is accurate enough
SETTLED = 1e-5  # largest change of a log singular value in the last sweep
MAX_SWEEPS = 300


class MatrixProductCell(Cell):
    """Products of `depth` matrices of size `width`; give `aspect` to tie depth to width."""

    aspect: float | None = Field(
        None, gt=0, le=1e6, description="depth / width: matrices per unit of width; sets depth"
    )
    entries: Literal["gauss", "rademacher", "uniform", "student5"] = Field("gauss", description="Law of the entries")
    smoothing: float = Field(
        0.1,
        ge=0,
        le=1,
        description="ε of a rademacher entry (±1 + ε g)/√(1 + ε²): small ±1 matrices may be singular",
    )
    draws: int = Field(16, ge=2, le=10**6, description="Independent products")

    @model_validator(mode="before")
    @classmethod
    def _depth_from_aspect(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("aspect") is not None and "width" in values:
            depth = max(1, round(values["aspect"] * values["width"]))
            if values.get("depth", depth) != depth:
                raise ValueError(f"depth {values['depth']} is not aspect × width = {depth}: give one of the two")
            return {**values, "depth": depth}
        return values


def _rademacher(rng: np.random.Generator, shape: tuple[int, ...], smoothing: float) -> np.ndarray:
    signs = 2.0 * rng.integers(0, 2, shape) - 1
    return (signs + smoothing * rng.standard_normal(shape)) / np.sqrt(1 + smoothing**2)


ENTRIES: dict[str, Callable[[np.random.Generator, tuple[int, ...], float], np.ndarray]] = {  # mean 0, variance 1
    "gauss": lambda rng, shape, _: rng.standard_normal(shape),
    "rademacher": _rademacher,
    "uniform": lambda rng, shape, _: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "student5": lambda rng, shape, _: rng.standard_t(5, shape) / np.sqrt(5 / 3),
}


def ks_to_uniform(points: np.ndarray) -> np.ndarray:
    """Kolmogorov–Smirnov distance to U[0, 1] of the empirical law of the last axis: [..., n] → [...]."""
    cdf = np.clip(np.sort(points, axis=-1), 0, 1)
    rank = np.arange(1, points.shape[-1] + 1) / points.shape[-1]
    return np.maximum(rank - cdf, cdf - rank + 1 / points.shape[-1]).max(axis=-1)


def _rescaled(upper: np.ndarray, log_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write R·diag(exp s) as diag(exp s')·U in the log domain, U upper triangular with ±1 on its diagonal.

    U keeps the signs of R: the scales are positive, and a lost sign would change the next product.
    """
    diagonal = np.abs(np.diagonal(upper, axis1=-2, axis2=-1))
    unit = np.triu(upper / diagonal[..., :, None])
    gaps = log_scale[..., None, :] - log_scale[..., :, None]
    unit *= np.exp(np.minimum(np.triu(gaps, 1), 600.0))
    return unit, log_scale + np.log(diagonal)


def log_singular_values(unit: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Logarithms of the singular values of diag(exp s)·U, [draws, n] and [draws, n, n] → [draws, n], largest first.

    Where a float cannot hold the product, the unshifted QR algorithm runs in the log domain: transpose, orthogonalise,
    move the scales to the left again. U tends to a diagonal of ±1 like powers of the ratio of neighbouring singular
    values. A pair too close to separate is no harm: what it still lacks is of the order of its own log ratio.
    """
    if np.ptp(log_scale, axis=-1).max() < DIRECT_SPREAD:
        top = log_scale.max(axis=-1, keepdims=True)
        return np.log(np.linalg.svd(np.exp(log_scale - top)[..., None] * unit, compute_uv=False)) + top
    for _ in range(MAX_SWEEPS):
        upper = np.linalg.qr(np.swapaxes(unit, -2, -1)).R
        unit, settled = _rescaled(upper, log_scale)
        change, log_scale = np.abs(settled - log_scale).max(), settled
        if change < SETTLED:
            break
    return -np.sort(-log_scale, axis=-1)


def _matrices_per_step(width: int) -> int:
    """Matrices multiplied between two orthogonalisations: their product's condition number is of order n per matrix."""
    return max(1, int(CONDITION_DIGITS / np.log10(max(width, 2))))


def sample_products(
    cell: MatrixProductCell, draws: int, rng: np.random.Generator, per_step: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Log singular values of `draws` products, and log R_ii summed over the QR iteration: both [draws, width]."""
    n, entry = cell.width, ENTRIES[cell.entries]
    frame = np.broadcast_to(np.eye(n), (draws, n, n))
    unit, log_scale = frame, np.zeros((draws, n))
    remaining = cell.depth
    while remaining:
        taken = min(per_step or _matrices_per_step(n), remaining)
        for _ in range(taken):
            frame = entry(rng, (draws, n, n), cell.smoothing) @ frame
        frame, upper = np.linalg.qr(frame)
        scaled, log_scale = _rescaled(upper, log_scale)
        unit = scaled @ unit
        log_scale -= 0.5 * taken * np.log(n)
        remaining -= taken
    return log_singular_values(unit, log_scale), log_scale


def _ks_of_mean(exponents: np.ndarray) -> Estimate:
    """KS distance of exp(2 × exponents averaged over draws), [draws, n], with its jackknife standard error."""
    draws = len(exponents)
    mean = exponents.mean(axis=0)
    left_out = (draws * mean - exponents) / (draws - 1)
    replicas = ks_to_uniform(np.exp(2 * left_out))
    se = np.sqrt((draws - 1) * replicas.var())
    return Estimate(float(ks_to_uniform(np.exp(2 * mean))), float(se))


def cost(cell: MatrixProductCell) -> Cost:
    """FLOPs of products and factorisations; seconds from random numbers, products and QR measured on one core."""
    n, count = cell.width, cell.draws * cell.depth
    sweeps = min(MAX_SWEEPS, 10 + 40 * n / cell.depth) if cell.depth * np.log(2 * n) > DIRECT_SPREAD else 1
    steps = count / _matrices_per_step(n) + cell.draws * sweeps
    entry_seconds = {"gauss": 2.2e-8, "rademacher": 3.2e-8, "uniform": 1.2e-8, "student5": 5.5e-8}[cell.entries]
    seconds = count * (entry_seconds * n**2 + 6e-11 * n**3) + steps * (4e-6 + 6e-8 * n**2 + 5e-10 * n**3)
    return Cost(2.0 * n**3 * count + 5.0 * n**3 * steps, seconds, 2e8 + 8 * 8.0 * BATCH_ENTRIES)


def run(cell: MatrixProductCell, context: Context) -> Outcome:
    """Sample the products in batches. Cells of different width or depth use independent random numbers."""
    rng = np.random.default_rng([cell.seed, cell.width, cell.depth])
    batch = max(1, BATCH_ENTRIES // cell.width**2)
    sizes = [min(batch, cell.draws - start) for start in range(0, cell.draws, batch)]
    parts = [sample_products(cell, size, rng) for size in sizes]
    log_singular, log_scale = (np.concatenate(column) for column in zip(*parts, strict=True))
    exponents = log_scale / cell.depth
    rows = [
        *probe_rows("ks_limit", [_ks_of_mean(exponents)]),
        *probe_rows("ks_uniform", [mean_over_draws(ks_to_uniform(np.exp(2 / cell.depth * log_singular)))]),
        *probe_rows("lyapunov", [mean_over_draws(column) for column in exponents.T]),
    ]
    return outcome(rows, flops=cost(cell).flops)


EXPERIMENTS.register("matrix_product")(
    Experiment(
        summary="Singular values and Lyapunov exponents of products of random matrices, by QR iteration",
        stage="sample",
        cell=MatrixProductCell,
        cost=cost,
        run=run,
        example=probe_example(
            "ks_uniform",
            {"aspect": 1, "entries": "gauss", "draws": 32},
            {"width": [8, 16, 32, 64]},
            smoke={"draws": 4},
            predicted=-1,
        ),
    )
)
