"""Regression on random features of a linear teacher: all four scaling regimes of one exactly solvable model.

The teacher y = ⟨w, x⟩, w ~ N(0, I), has features x = Λ^½ z of variance λ_i = i^−(1 + α), α = `kernel_exponent`. The
student fits D = `samples` noiseless labels by least squares (of minimal norm) on P = `width` random combinations Sᵀx of
them, S standard normal; its error is (1 − A)ᵀ Λ (1 − A), averaged over w in closed form as the trace. Y. Bahri, E.
Dyer, J. Kaplan, J. Lee and U. Sharma, Explaining neural scaling laws (2021).

D < P: A = G Xᵀ (X G Xᵀ)^(−1) X with G = SSᵀ. D > P: A = S (SᵀHS)^(−1) SᵀH with H = XᵀX. Where they are large, G and H
are Wishart matrices, drawn at a cost that does not depend on their degrees of freedom. With infinitely many features
Π = Xᵀ(XXᵀ)^(−1)X replaces A, with infinitely many samples Λ^½S(SᵀΛS)^(−1)SᵀΛ^½ does, in coordinates Λ^½w. XᵀX and
Λ^½SSᵀΛ^½ have the same law, hence the duality: the loss is the same function of D and of P.

`quantity: finite` takes the first `latent` features as all there are. Probes (layer 1), paired within a draw: `loss`;
`excess`, the loss over that with infinitely many of the larger of D and P; `inflation`, the ratio of the two.
`quantity: limits` takes infinitely many features, of which the later ones act like a ridge (see
`muster.sampling.regression`). Probes: `data_limited`, the loss of D samples at P = ∞; `width_limited`, that of P
features at D = ∞, from independent draws.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.regression import (
    BATCH_ENTRIES,
    Matrix,
    RegressionCell,
    batches,
    power_tail,
    wishart_root,
)
from muster.sampling.tables import outcome, probe_rows


class RandomFeaturesCell(RegressionCell):
    """One number of samples and of random features."""

    quantity: Literal["finite", "limits"] = Field("finite", description="D and P as given, or each with the other ∞")
    kernel_exponent: float = Field(1.0, gt=0, le=10, description="α: the teacher's features have variance i^−(1 + α)")
    latent: int = Field(256, ge=2, le=100_000, description="Features of the teacher that are drawn")

    @model_validator(mode="after")
    def _determined(self) -> "RandomFeaturesCell":
        small, large = self.shape
        if self.quantity == "finite" and large < small + 4:
            raise ValueError(f"{self.samples} samples and {self.width} features: the mean needs 4 between them or more")
        if self.latent <= (small if self.quantity == "finite" else large):
            raise ValueError(f"{self.latent} latent features for {self.samples} samples and width {self.width}: more")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """The smaller and the larger of samples and width."""
        return min(self.samples, self.width), max(self.samples, self.width)


def spectrum(cell: RandomFeaturesCell) -> Matrix:
    """λ_1 … λ_latent."""
    return np.asarray(np.arange(1.0, cell.latent + 1) ** -(1 + cell.kernel_exponent))


def gram(rng: np.random.Generator, draws: int, size: int, degrees: int) -> Matrix:
    """ZᵀZ [draws, size, size] for standard normal Z [degrees, size]."""
    root = wishart_root(rng, draws, size, degrees) if degrees >= size else None
    if root is None:
        root = np.swapaxes(rng.standard_normal((draws, degrees, size)), -1, -2)
    return np.asarray(root @ np.swapaxes(root, -1, -2))


def finite_losses(cell: RandomFeaturesCell, draws: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Loss and its limit in the larger of D and P [draws], of the same draws.

    In coordinates u = Λ^½ w the smaller side spans the columns of C [latent, n]: Λ^½Sᵀ… for few features, (ZΛ^½)ᵀ for
    few samples. Few features: u is regressed on C with the samples' Gram matrix H = ZᵀZ. Few samples: the fit is
    GC(CᵀGC)^(−1)Cᵀ w, error (1 − ·) in the metric Λ. Both are 1 − L with L an oblique projector, and swap under
    transposition.
    """
    small, large = cell.shape
    variance = spectrum(cell)
    root = np.sqrt(variance)
    columns = root[:, None] * rng.standard_normal((draws, cell.latent, small))
    metric = gram(rng, draws, cell.latent, large)
    transposed = np.swapaxes(columns, -1, -2)
    inner = transposed @ metric
    # Few features: M = C(CᵀHC)^(−1)CᵀH acts on u. Few samples: its transpose acts on w, in the metric Λ.
    oblique = columns @ np.linalg.solve(inner @ columns, inner)
    rest = np.eye(cell.latent) - oblique
    # tr(rest Λ restᵀ) for features (u has covariance Λ), tr(restᵀᵀ Λ restᵀ) = the same for samples.
    loss = np.einsum("bij,j,bij->b", rest, variance, rest, optimize=True)
    weighted = transposed * variance
    kept = np.linalg.solve(transposed @ columns, weighted @ columns)
    return loss, variance.sum() - np.trace(kept, axis1=-2, axis2=-1)


def limit_losses(cell: RandomFeaturesCell, size: int, draws: int, rng: np.random.Generator) -> Matrix:
    """Loss [draws] of `size` samples at infinite width, or of `size` features at infinitely many samples.

    tr Λ − tr K^(−1)B with K = ZΛZᵀ + τ and B = ZΛ²Zᵀ + τ₂, where the features beyond `latent` have the sum of variances
    τ and the sum of squares τ₂.
    """
    variance = spectrum(cell)
    tail, tail_squares = power_tail(cell.latent, 1 + cell.kernel_exponent)
    z = rng.standard_normal((draws, size, cell.latent))
    scaled = z * variance
    identity = np.eye(size)
    kernel = scaled @ np.swapaxes(z, -1, -2) + tail * identity
    overlap = scaled @ np.swapaxes(scaled, -1, -2) + tail_squares * identity
    return np.asarray(variance.sum() + tail - np.trace(np.linalg.solve(kernel, overlap), axis1=-2, axis2=-1))


def run(cell: RandomFeaturesCell, context: Context) -> Outcome:
    """Fit the data sets. Cells of different shape or spectrum use independent random numbers."""
    rng = np.random.default_rng([cell.seed, cell.width, cell.samples, round(1e6 * cell.kernel_exponent)])
    if cell.quantity == "limits":
        rows = []
        for probe, size in (("data_limited", cell.samples), ("width_limited", cell.width)):
            parts = [limit_losses(cell, size, draws, rng) for draws in batches(cell.draws, size * cell.latent)]
            rows += probe_rows(probe, [mean_over_draws(np.concatenate(parts))])
        return outcome(rows, flops=cost(cell).flops)
    found = [finite_losses(cell, draws, rng) for draws in batches(cell.draws, 4 * cell.latent**2)]
    loss, limit = (np.concatenate(each) for each in zip(*found, strict=True))
    rows = probe_rows("loss", [mean_over_draws(loss)])
    rows += probe_rows("excess", [mean_over_draws(loss - limit)])
    rows += probe_rows("inflation", [ratio_of_means(loss, limit)])
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: RandomFeaturesCell) -> Cost:
    """Matrix products at 20 GFLOP/s, factorisations at 4, normal numbers at 15 ns, and 30 ns for each entry of the
    m × m matrices of a finite fit, which are gone over a dozen times: one core."""
    m, (small, large), entries = cell.latent, cell.shape, 0
    if cell.quantity == "limits":
        sizes = (cell.samples, cell.width)
        products = sum(4.0 * n**2 * m for n in sizes)
        factorisations, numbers = sum(2.7 * n**3 for n in sizes), m * float(sum(sizes))
    else:
        products = 2.0 * m**2 * min(large, m) + 6.0 * m**2 * small
        factorisations, numbers, entries = 3.0 * small**3, m * (small + min(large, m)), m**2
    seconds = cell.draws * (5e-11 * products + 2.5e-10 * factorisations + 1.5e-8 * numbers + 3e-8 * entries)
    return Cost(cell.draws * (products + factorisations), seconds, 2e8 + 6 * 8.0 * BATCH_ENTRIES)


EXPERIMENTS.register("random_features")(
    Experiment(
        summary="Least squares on random features of a linear teacher: four scaling regimes and their duality",
        stage="sample",
        cell=RandomFeaturesCell,
        cost=cost,
        run=run,
        example=probe_example(
            "excess",
            {"quantity": "finite", "kernel_exponent": 1.0, "latent": 128, "width": 4, "draws": 128},
            {"samples": [32, 64, 128]},
            along="samples",
            smoke={"draws": 8, "latent": 64},
            predicted=-1,
        ),
    )
)
