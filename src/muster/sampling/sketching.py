"""Least squares on sketched data, and on two similar tasks one after the other: minimum-norm solutions of Gaussian
data.

`sketched_regression`: n = `samples` isotropic Gaussian samples of p = `width` features, β of length `snr` in a uniform
direction, noise of variance 1. The m = round(`sketch`·p) rows of S are orthonormal in a uniform position (`orthogonal`,
in law a sub-sample) or Gaussian (`gaussian`); the fit is the minimum-norm solution of (SX, Sy). X. Chen, Y. Zeng, S.
Yang and Q. Sun, Sketched ridgeless linear regression (2023). Probes: `risk`, the mean of |β̂ − β|²; without `sketch`,
`best_sketch`: the size m/p of the lowest risk among SIZES, by the mean of each of BATCHES parts of the draws.

`task_pair`: d = `samples` < p whitened samples X₁ (orthonormal rows in a uniform position) of a first task with a
random w; the second has the same labels, and inputs rotated at random within a random subspace, a share 1 −
`similarity` of all dimensions. Each is fitted by minimum norm from where the last fit ended. D. Goldfarb, I. Evron, N.
Weinberger, D. Soudry and P. Hand, The joint effect of task similarity and overparameterization on catastrophic
forgetting (2024).
Probe `forgetting`: E|X₁(w₂ − w₁)|²/E|X₁w₁|².
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.random_network import generator
from muster.sampling.regression import RegressionCell, batches
from muster.sampling.tables import outcome, probe_rows

Matrix = NDArray[np.float64]
SIZES = np.arange(0.2, 0.851, 0.05)  # m/p among which the best is looked for
BATCHES = 16


class SketchedCell(RegressionCell):
    """One sketch of one data set shape."""

    method: Literal["full", "orthogonal", "gaussian"] = Field("orthogonal", description="full: no sketch, m = n")
    sketch: float | None = Field(None, gt=0, le=100, description="m/p, rows of the sketch over features")
    snr: float = Field(2.0, gt=0, le=1e6, description="α/σ, length of the coefficients over the noise's sd")

    @property
    def rows(self) -> int:
        """m."""
        return self.samples if self.method == "full" else round((self.sketch or SIZES[-1]) * self.width)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.rows > self.samples and self.method == "orthogonal":
            raise ValueError(f"{self.rows} orthonormal rows of {self.samples} entries do not exist: lower sketch")
        if abs(self.rows - self.width) < 2:
            raise ValueError(f"{self.rows} rows for {self.width} features: the risk has no expectation")
        return self


class TaskPairCell(RegressionCell):
    """Two tasks of which the second is the first, rotated."""

    similarity: float = Field(0.5, ge=0, le=1, description="Share of the dimensions that are not rotated")

    @model_validator(mode="after")
    def _overparameterized(self) -> Self:
        if self.samples >= self.width:
            raise ValueError(f"{self.samples} samples determine {self.width} coefficients: give fewer")
        return self


def orthonormal(rng: np.random.Generator, draws: int, rows: int, columns: int) -> Matrix:
    """Orthonormal rows in a uniform position, [draws, rows ≤ columns, columns] (Haar measure: QR of Gaussian matrices
    with the signs of the diagonal; Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((draws, columns, rows)))
    return np.asarray(np.swapaxes(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None], 1, 2), float)


def minimum_norm(x: Matrix, y: Matrix) -> Matrix:
    """Least-squares solutions of the smallest norm, [draws, p], of systems [draws, m, p] of full rank."""
    transposed = np.swapaxes(x, 1, 2)
    if x.shape[1] < x.shape[2]:
        return np.asarray((transposed @ np.linalg.solve(x @ transposed, y[..., None]))[..., 0], float)
    return np.asarray(np.linalg.solve(transposed @ x, transposed @ y[..., None])[..., 0], float)


def risks(cell: SketchedCell, draws: int, sizes: list[int], rng: np.random.Generator) -> Matrix:
    """|β̂ − β|² with the first m rows of one sketch, [draws, sizes]."""
    x = rng.standard_normal((draws, cell.samples, cell.width))
    beta = cell.snr * orthonormal(rng, draws, 1, cell.width)[:, 0]
    y = np.einsum("dnp,dp->dn", x, beta) + rng.standard_normal((draws, cell.samples))
    if cell.method != "full":
        s = rng.standard_normal((draws, cell.rows, cell.samples))
        if cell.method == "orthogonal":
            s = orthonormal(rng, draws, cell.rows, cell.samples)
        x, y = s @ x, np.einsum("dmn,dn->dm", s, y)
    found = [minimum_norm(x[:, :m], y[:, :m]) - beta for m in sizes]
    return np.stack([np.square(each).sum(axis=1) for each in found], axis=1)


def run_sketched(cell: SketchedCell, context: Context) -> Outcome:
    """Fit the sketched data sets."""
    swept = cell.sketch is None and cell.method != "full"
    sizes = [round(size * cell.width) for size in SIZES] if swept else [cell.rows]
    rng = generator(cell)
    parts = [
        risks(cell, draws, sizes, rng) for draws in batches(cell.draws, cell.samples * (cell.samples + cell.width))
    ]
    found = np.concatenate(parts)
    if not swept:
        return outcome(probe_rows("risk", [mean_over_draws(found[:, 0])]), flops=cost_sketched(cell).flops)
    best = [np.array(sizes)[part.mean(axis=0).argmin()] / cell.width for part in np.array_split(found, BATCHES)]
    return outcome(probe_rows("best_sketch", [mean_over_draws(np.array(best))]), flops=cost_sketched(cell).flops)


def forgotten(cell: TaskPairCell, draws: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """|X₁(w₂ − w₁)|² and |X₁w₁|² of each draw. With orthonormal rows X⁺ = Xᵀ: w₁ = X₁ᵀy, w₂ = w₁ + X₂ᵀ(y − X₂w₁)."""
    p, m = cell.width, round((1 - cell.similarity) * cell.width)
    x1 = orthonormal(rng, draws, cell.samples, p)
    y = np.einsum("dnp,dp->dn", x1, rng.standard_normal((draws, p)))
    x2 = x1
    if m:
        basis, turn = orthonormal(rng, draws, m, p), orthonormal(rng, draws, m, m)
        inside = x1 @ np.swapaxes(basis, 1, 2)
        x2 = x1 + (inside @ turn - inside) @ basis
    moved = y - np.einsum("dnp,dp->dn", x2, np.einsum("dnp,dn->dp", x1, y))
    change = np.einsum("dnp,dp->dn", x1, np.einsum("dnp,dn->dp", x2, moved))
    return np.square(change).sum(axis=1), np.square(y).sum(axis=1)


def run_task_pair(cell: TaskPairCell, context: Context) -> Outcome:
    """Learn one task after the other."""
    rng = generator(cell)
    parts = [forgotten(cell, draws, rng) for draws in batches(cell.draws, 3 * cell.width**2)]
    over, under = (np.concatenate(each) for each in zip(*parts, strict=True))
    return outcome(probe_rows("forgetting", [ratio_of_means(over, under)]), flops=cost_task_pair(cell).flops)


def cost_sketched(cell: SketchedCell) -> Cost:
    """The sketch and its product with the data, and a linear system a size."""
    n, p, m = cell.samples, cell.width, cell.rows
    sizes = len(SIZES) if cell.sketch is None and cell.method != "full" else 1
    sketched = (
        0.0 if cell.method == "full" else 2.0 * m * n * p + (4.0 * m**2 * n if cell.method == "orthogonal" else 0)
    )
    flops = cell.draws * (sketched + sizes * (2.0 * m * p * min(m, p) + min(m, p) ** 3))
    return Cost(flops, cell.draws * 5e-5 + 3e-10 * flops + 1.5e-8 * cell.draws * n * (p + m), 2e8)


def cost_task_pair(cell: TaskPairCell) -> Cost:
    """Three QR decompositions and products of p × p matrices."""
    flops = cell.draws * 12.0 * cell.width**3
    return Cost(flops, 4e-10 * flops, 2e8)


EXPERIMENTS.register("sketched_regression")(
    Experiment(
        summary="Minimum-norm least squares on sketched Gaussian data: risk, and the best size of a sketch",
        stage="sample",
        cell=SketchedCell,
        cost=cost_sketched,
        run=run_sketched,
        example=probe_example(
            "risk",
            {"width": 20, "samples": 40, "sketch": 0.5, "draws": 200},
            {"snr": [1, 2, 4]},
            along="snr",
            smoke={"draws": 20},
        ),
    )
)
EXPERIMENTS.register("task_pair")(
    Experiment(
        summary="Two linear-regression tasks, the second the first in rotated inputs: what is forgotten",
        stage="sample",
        cell=TaskPairCell,
        cost=cost_task_pair,
        run=run_task_pair,
        example=probe_example(
            "forgetting",
            {"width": 40, "aspect": 0.5, "draws": 50},
            {"similarity": [0.25, 0.5, 0.75]},
            along="similarity",
            smoke={"draws": 4},
        ),
    )
)
