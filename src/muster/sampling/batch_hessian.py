"""The outlier of a mini-batch Hessian: a spiked random matrix.

The Hessian of a batch of B examples is that of the whole loss plus the mean of B independent fluctuations. D. Granziol,
S. Zohren and S. Roberts, Learning rates as a function of batch size (2020), take the whole as an outlier λ with unit
eigenvector v among zeros, and conclude λ' = λ + pσ²/(Bλ) for the batch. Here pσ² is the mean square of an example's
fluctuation applied to v, across v, in `width` = p dimensions; it is 1, so that λ = `outlier` is in units of its root.

- `gaussian`: symmetric fluctuations with independent entries of variance σ², twice that on the diagonal. Their mean has
  the same law at σ/√B: a deformed Wigner matrix (Péché 2006; Capitaine, Donati-Martin & Féral 2009). Below λ² =
  pσ²/B the outlier drowns in the edge 2σ√(p/B).
- `examples`: an example's Hessian is the outer product xxᵀ of its gradient, as in regression. x has variance λ along v
  and 1/(λp) across it: the spiked covariance model (Baik & Silverstein 2006).

Probes (layer 1): `batch_outlier`, the mean of λ'; `outlier_excess`, the mean of λ' − vᵀH_B v, which is that of λ' − λ
without the first-order noise, a control variate of mean zero.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws
from muster.sampling.random_network import generator
from muster.sampling.regression import batches
from muster.sampling.tables import outcome, probe_rows

Array = NDArray[np.float64]


class BatchHessianCell(Cell):
    """One batch size."""

    batch_size: int = Field(1, ge=1, le=10**6, description="B: examples whose Hessians are averaged")
    outlier: float = Field(1.0, gt=0, le=1e6, description="λ: the outlier of the whole loss, over √(pσ²)")
    noise: Literal["gaussian", "examples"] = Field("gaussian", description="What the fluctuations are made of")
    draws: int = Field(64, ge=2, le=10**6, description="Batches")

    @model_validator(mode="after")
    def _outlying(self) -> "BatchHessianCell":
        if self.noise == "examples" and self.outlier**2 <= 1 / self.width:
            raise ValueError(f"in {self.width} dimensions all directions are as steep as the outlier {self.outlier}")
        return self


def gaussian_batches(cell: BatchHessianCell, draws: int, rng: np.random.Generator) -> Array:
    """Hessians H_B [draws, p, p] whose v is the first axis, which a rotation can always bring about."""
    scale = math.sqrt(1 / (2 * cell.width * cell.batch_size))
    entries = scale * rng.standard_normal((draws, cell.width, cell.width))
    entries += np.swapaxes(entries, -1, -2).copy()
    entries[:, 0, 0] += cell.outlier
    return entries


def examples_batches(cell: BatchHessianCell, draws: int, rng: np.random.Generator) -> Array:
    """Hessians (1/B) Σ xxᵀ [draws, p, p] whose v is the first axis."""
    across = 1 / (cell.outlier * cell.width)
    deviation = np.sqrt(np.r_[cell.outlier, np.full(cell.width - 1, across)] / cell.batch_size)
    x = deviation * rng.standard_normal((draws, cell.batch_size, cell.width))
    return np.asarray(np.swapaxes(x, -1, -2) @ x)


NOISES = {"gaussian": gaussian_batches, "examples": examples_batches}


def run(cell: BatchHessianCell, context: Context) -> Outcome:
    """Draw the batches; cells with different settings use independent random numbers."""
    rng = generator(cell)
    found = []
    for draws in batches(cell.draws, cell.width * max(cell.width, cell.batch_size)):
        hessian = NOISES[cell.noise](cell, draws, rng)
        found.append((np.linalg.eigvalsh(hessian)[:, -1], hessian[:, 0, 0]))
    top, along = (np.concatenate(each) for each in zip(*found, strict=True))
    rows = probe_rows("batch_outlier", [mean_over_draws(top)])
    rows += probe_rows("outlier_excess", [mean_over_draws(top - along)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: BatchHessianCell) -> Cost:
    """Eigenvalues of dense matrices at 4 GFLOP/s, and the examples' products: one core."""
    examples = cell.batch_size if cell.noise == "examples" else 0
    products = cell.draws * 2.0 * cell.width**2 * examples
    eigenvalues = cell.draws * 1.4 * cell.width**3
    numbers = cell.draws * float(cell.width) * max(cell.width, examples)
    return Cost(products + eigenvalues, 5e-11 * products + 2.5e-10 * eigenvalues + 3e-8 * numbers, 5e8)


EXPERIMENTS.register("batch_hessian")(
    Experiment(
        summary="Largest eigenvalue of a mini-batch Hessian: an outlier and noise of variance ∝ 1/B",
        stage="sample",
        cell=BatchHessianCell,
        cost=cost,
        run=run,
        example=probe_example(
            "batch_outlier",
            {"width": 128, "outlier": 1.0, "noise": "gaussian", "draws": 64},
            {"batch_size": [8, 16, 32]},
            along="batch_size",
            smoke={"width": 32, "draws": 8},
        ),
    )
)
