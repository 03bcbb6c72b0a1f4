"""Linear, ridge and kernel regression with Gaussian features: exact draws, averaged over noise where that is possible.

`width` is the number of features d, `samples` the number of samples P, `aspect` their ratio P/d. Features are x = Λ^½ z
with standard normal z. With P ≥ d only XᵀX matters, a Wishart matrix: its Cholesky root is drawn by Bartlett's
decomposition at a cost that does not depend on P (T. W. Anderson, An Introduction to Multivariate Statistical Analysis,
7.2). Given the features, squared errors are quadratic in target and noise, whose Gaussian expectation is taken in
closed form (Rao–Blackwell): what remains to sample is the spectrum alone.

`teacher_student`: isotropic x of variance 1/d, teacher w* of variance 1, noise of variance 1/`snr`, gradient flow
dw/dt = Xᵀ(y − Xw) from w₀ of variance `inr`. In the eigenbasis of XᵀX, w − w* = (w₀ − w*) e^(−λt) + (1 − e^(−λt)) ε/√λ;
M. S. Advani and A. M. Saxe, High-dimensional dynamics of generalization error in neural networks (2017). Probes (step =
t), per feature: `init_error` Σ e^(−2λt)/d, `noise_error` Σ (1 − e^(−λt))²/(λd), `excess_error` (1 + inr) init +
noise/snr; and `overtraining` (step = last t): the last excess error over the smallest one.

`label_chain`: labels of generation k are made by the least-squares fit of generation k − 1 plus noise of variance 1, on
T₀ = `label_ratio` × T fresh samples; the last fit, least squares or ridge λ = T^(−ridge_exponent), has T = `samples` of
them and noise of variance 1. E. Dohmatob, Y. Feng and J. Kempe, Model collapse demystified: the case of regression
(2024). Spectrum i^(−decay). A ridge λ hides the features of variance below λ: it passes on the pollution of the
λ^(−1/decay) features above it, 1/T₀ of each, hence pollution ∝ T^(ridge_exponent/decay)/T₀. Probes (layer = generations
n of synthetic labels, from 1, in units of the noise): `excess_risk` of the last fit, drawn with all its noise, and
`pollution`, the part of it that stems from synthetic labels.

`kernel_ridge`: regression with infinitely many features of variance λ_i, of which the first d = `width` are drawn; the
rest acts on the kernel like a ridge of their sum (law of large numbers). L. Zhou, J. B. Simon, G. Vardi and N. Srebro,
An agnostic view on the cost of overfitting in (kernel) ridge regression (2023). Probes: `noise_cost`, the test error of
ridgeless regression on pure noise over its variance; `cost`, that of the ridgeless over that of the best ridge, on a
target with coefficients i^(−source), square norm 1 and noise of variance `noise`.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.sampling.draws import mean_over_draws, ratio_of_means
from muster.sampling.tables import Row, outcome, probe_rows

Matrix = NDArray[np.float64]

BATCH_ENTRIES = 4_000_000  # matrix entries held at a time
RIDGES = np.geomspace(1e-4, 1e4, 49)  # of the best ridge, relative to the kernel's mean eigenvalue


class RegressionCell(Cell):
    """Features and samples: two of `width`, `samples` and `aspect` give the third."""

    samples: int = Field(ge=1, le=10**12, description="Samples P of the fit that is judged")
    aspect: float | None = Field(None, gt=0, le=1e9, description="samples / width; sets whichever of them is not given")
    draws: int = Field(64, ge=2, le=10**6, description="Independent data sets")

    @model_validator(mode="before")
    @classmethod
    def _from_aspect(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("aspect") is None:
            return values
        aspect = values["aspect"]
        if "width" not in values:
            return {**values, "width": max(1, round(values["samples"] / aspect))} if "samples" in values else values
        samples = max(1, round(aspect * values["width"]))
        if values.get("samples", samples) != samples:
            raise ValueError(f"samples {values['samples']} is not aspect × width = {samples}: give one of the two")
        return {**values, "samples": samples}


class TeacherStudentCell(RegressionCell):
    """Gradient flow on one data set shape."""

    snr: float = Field(1.0, gt=0, le=1e9, description="Variance of the teacher's weights over that of the noise")
    inr: float = Field(0.0, ge=0, le=1e9, description="Variance of the initial weights over that of the teacher's")
    horizon: int = Field(1024, ge=1, le=10**9, description="Last time of the gradient flow")


class LabelChainCell(RegressionCell):
    """One chain of synthetic labels."""

    label_ratio: float = Field(
        1.0, gt=0, le=1e6, description="T₀/T: samples of every generation that makes labels, over `samples`"
    )
    generations: int = Field(10, ge=1, le=1000, description="Generations of synthetic labels")
    decay: float = Field(0.0, ge=0, le=20, description="Exponent of the spectrum i^(−decay); 0 is isotropic")
    last_fit: Literal["least_squares", "ridge"] = Field("least_squares", description="The fit whose risk is measured")
    ridge_exponent: float = Field(1.0, gt=0, le=20, description="The ridge is samples^(−ridge_exponent)")

    @model_validator(mode="after")
    def _determined(self) -> "LabelChainCell":
        few = min(self.label_samples, self.samples)
        if few <= self.width + 1:
            raise ValueError(f"{few} samples for {self.width} features: least squares needs at least {self.width + 2}")
        return self

    @property
    def label_samples(self) -> int:
        """T₀, the samples of every generation that makes labels."""
        return round(self.label_ratio * self.samples)


class KernelRidgeCell(RegressionCell):
    """One kernel and one target."""

    spectrum: Literal["power", "exponential", "logarithmic"] = Field(
        "power", description="λ_i: power i^(−decay), exponential e^(−i/decay), logarithmic 1/(i ln²(i + 1))"
    )
    decay: float = Field(2.0, gt=0, le=1e3, description="Exponent of the power law, or length of the exponential")
    source: float = Field(1.0, gt=0.5, le=20, description="Coefficients of the target's features fall like i^(−source)")
    noise: float = Field(0.1, ge=0, le=1e6, description="Variance of the noise; that of the target is 1")

    @model_validator(mode="after")
    def _finite_trace(self) -> "KernelRidgeCell":
        if self.spectrum == "power" and self.decay <= 1:
            raise ValueError(f"decay {self.decay} gives a kernel of infinite trace: take more than 1")
        return self


def wishart_root(rng: np.random.Generator, draws: int, size: int, degrees: int) -> Matrix:
    """Lower triangular A [draws, size, size] with AAᵀ ~ Wishart(degrees, 1), by Bartlett's decomposition; degrees ≥
    size."""
    root = np.tril(rng.standard_normal((draws, size, size)), -1)
    chi = np.sqrt(rng.chisquare(degrees - np.arange(size), (draws, size)))
    root[:, np.arange(size), np.arange(size)] = chi
    return root


def batches(draws: int, entries: int) -> list[int]:
    """Sizes of the batches that hold at most BATCH_ENTRIES entries each."""
    size = max(1, BATCH_ENTRIES // entries)
    return [min(size, draws - start) for start in range(0, draws, size)]


def flow_times(horizon: int) -> list[int]:
    """Whole times in half octaves up to the horizon."""
    powers = [2**k for k in range(horizon.bit_length())]
    return sorted(t for t in {*powers, *(3 * power // 2 for power in powers[1:]), horizon} if t <= horizon)


def gram_eigenvalues(cell: RegressionCell, rng: np.random.Generator) -> Matrix:
    """Non-zero eigenvalues of XᵀX for x of variance 1/d, [draws, min(P, d)]."""
    small, large = sorted((cell.samples, cell.width))
    roots = (wishart_root(rng, size, small, large) for size in batches(cell.draws, small**2))
    return np.concatenate([np.linalg.eigvalsh(root @ np.swapaxes(root, -1, -2)) for root in roots]) / cell.width


def run_teacher_student(cell: TeacherStudentCell, context: Context) -> Outcome:
    """Follow the flow. Cells of different shape use independent random numbers."""
    eigenvalues = gram_eigenvalues(cell, np.random.default_rng([cell.seed, cell.width, cell.samples]))
    unseen = cell.width - eigenvalues.shape[1]
    rows: list[Row] = []
    excess = []
    for t in flow_times(cell.horizon):
        kept = np.exp(-eigenvalues * t)
        init = (np.square(kept).sum(axis=1) + unseen) / cell.width
        # (1 − e^(−λt))²/λ, which is λt² for small λt.
        noise = (np.square(np.expm1(-eigenvalues * t)) / eigenvalues).sum(axis=1) / cell.width
        excess.append((1 + cell.inr) * init + noise / cell.snr)
        for probe, values in (("init_error", init), ("noise_error", noise), ("excess_error", excess[-1])):
            rows.append((t, probe, 1, *mean_over_draws(values)))
    best = min(excess, key=lambda values: values.mean())
    rows.append((cell.horizon, "overtraining", 1, *ratio_of_means(excess[-1], best)))
    return outcome(rows, flops=cost_teacher_student(cell).flops)


def solve(matrices: Matrix, vectors: Matrix) -> Matrix:
    """Solutions [draws, size] of one linear system a draw."""
    return np.asarray(np.linalg.solve(matrices, vectors[..., None])[..., 0], np.float64)


def least_squares_noise(rng: np.random.Generator, draws: int, size: int, samples: int) -> Matrix:
    """Error of least squares in whitened coordinates, [draws, size]: A^(−T) g is N(0, (AAᵀ)^(−1)) given A."""
    transposed = np.swapaxes(wishart_root(rng, draws, size, samples), -1, -2)
    return solve(transposed, rng.standard_normal((draws, size)))


def last_fit(cell: LabelChainCell, rng: np.random.Generator, drift: Matrix) -> tuple[Matrix, Matrix]:
    """The last fit's part of the drift [draws, generations, size], and its own noise [draws, size], both whitened.

    Ridge: (Σ̂ + λ)^(−1) (Σ̂ w + Xᵀε/T). In whitened coordinates v = Λ^½ w and with Ŵ = AAᵀ/T this is
    (Ŵ + λΛ^(−1))^(−1) (Ŵ v + A g/T).
    """
    draws, size = drift.shape[0], cell.width
    if cell.last_fit == "least_squares":
        return drift, least_squares_noise(rng, draws, size, cell.samples)
    root = wishart_root(rng, draws, size, cell.samples) / math.sqrt(cell.samples)
    whitened = root @ np.swapaxes(root, -1, -2)
    ridge = cell.samples**-cell.ridge_exponent * np.arange(1, size + 1) ** cell.decay
    noise = np.einsum("bij,bj->bi", root, rng.standard_normal((draws, size))) / math.sqrt(cell.samples)
    sides = np.concatenate([whitened @ np.swapaxes(drift, 1, 2), noise[..., None]], axis=2)
    found = np.swapaxes(np.linalg.solve(whitened + np.diag(ridge), sides), 1, 2)
    return found[:, :-1], found[:, -1]


def run_label_chain(cell: LabelChainCell, context: Context) -> Outcome:
    """Run the chains. Cells of different shape use independent random numbers.

    The target does not matter: with least squares it drops out, and the bias of a ridge is no part of either probe.
    """
    rng = np.random.default_rng([cell.seed, cell.width, cell.samples, cell.label_samples])
    polluted, total = [], []
    for draws in batches(cell.draws, cell.width**2):
        steps = [least_squares_noise(rng, draws, cell.width, cell.label_samples) for _ in range(cell.generations)]
        drift, noise = last_fit(cell, rng, np.cumsum(steps, axis=0).swapaxes(0, 1))
        polluted.append(np.square(drift).sum(axis=2))
        total.append(np.square(drift + noise[:, None]).sum(axis=2))
    rows: list[Row] = probe_rows("excess_risk", [mean_over_draws(column) for column in np.concatenate(total).T])
    rows += probe_rows("pollution", [mean_over_draws(column) for column in np.concatenate(polluted).T])
    return outcome(rows, flops=cost_label_chain(cell).flops)


def power_tail(drawn: int, decay: float) -> tuple[float, float]:
    """Sum and sum of squares of i^(−decay) over i > drawn, by integrals from drawn + ½."""
    edge = drawn + 0.5
    return edge ** (1 - decay) / (decay - 1), edge ** (1 - 2 * decay) / (2 * decay - 1)


def kernel_spectrum(cell: KernelRidgeCell) -> tuple[Matrix, float, float]:
    """λ_1 … λ_d and, of all later ones, the sum and the sum of squares (by integrals from d + ½)."""
    i = np.arange(1.0, cell.width + 1)
    edge = cell.width + 0.5
    if cell.spectrum == "power":
        return i**-cell.decay, *power_tail(cell.width, cell.decay)
    if cell.spectrum == "exponential":
        rest = math.exp(-cell.width / cell.decay)
        return np.exp(-i / cell.decay), rest / math.expm1(1 / cell.decay), rest**2 / math.expm1(2 / cell.decay)
    # ∫ dx/(x ln² x) = 1/ln x; the squares' tail is bounded by 1/(x ln⁴ x), far below λ_d times the sum.
    return 1 / (i * np.log(i + 1) ** 2), 1 / math.log(edge), 1 / (edge * math.log(edge) ** 4)


def kernel_risks(cell: KernelRidgeCell, draws: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Test errors [draws, 1 + ridges + 1] of ridgeless, each ridge and the null predictor, on noise and on the target.

    With K = ZΛZᵀ + τ = QDQᵀ (τ: sum of the tail) and B = ZΛ²Zᵀ + Σ_tail λ², the fit to labels y has coefficients
    ΛZᵀ(K + δ)^(−1) y. Noise of variance 1 gives 1 + tr (K + δ)^(−2) B; the target β gives, with v = Zβ, c =
    (K + δ)^(−1) v: |β|² − 2 βᵀΛZᵀc + cᵀBc.
    """
    variance, tail, tail_squares = kernel_spectrum(cell)
    beta = np.arange(1.0, cell.width + 1) ** -cell.source
    beta /= np.sqrt(np.square(beta).sum())
    z = rng.standard_normal((draws, cell.samples, cell.width))
    scaled = z * variance
    kernel = scaled @ np.swapaxes(z, -1, -2)
    diagonal = np.arange(cell.samples)
    kernel[:, diagonal, diagonal] += tail
    values, vectors = np.linalg.eigh(kernel)
    # QᵀBQ from its root: B itself loses its small entries, which (K + δ)^(−2) magnifies, to rounding.
    root = np.swapaxes(vectors, -1, -2) @ scaled
    turned = root @ np.swapaxes(root, -1, -2) + tail_squares * np.eye(cell.samples)
    labels, overlap = np.einsum("bpj,bp->bj", vectors, z @ beta), root @ beta
    ridges = np.concatenate([[0.0], RIDGES]) * values.mean(axis=1, keepdims=True).mean()
    inverse = 1 / (values[:, None, :] + ridges[:, None])
    noise = 1 + np.einsum("bgj,bjj->bg", inverse**2, turned)
    c = inverse * labels[:, None, :]
    signal = 1 - 2 * np.einsum("bgj,bj->bg", c, overlap) + np.einsum("bgi,bij,bgj->bg", c, turned, c, optimize=True)
    null = np.ones((draws, 1))
    noise = np.hstack([noise, null])
    return noise, np.hstack([signal, null]) + cell.noise * noise


def run_kernel_ridge(cell: KernelRidgeCell, context: Context) -> Outcome:
    """Fit the data sets. Cells of different shape or spectrum use independent random numbers."""
    rng = np.random.default_rng([cell.seed, cell.width, cell.samples, round(1e6 * cell.decay)])
    parts = [kernel_risks(cell, draws, rng) for draws in batches(cell.draws, 3 * cell.samples * cell.width)]
    noise, target = (np.concatenate(each) for each in zip(*parts, strict=True))
    best = target[:, target.mean(axis=0).argmin()]
    rows = probe_rows("noise_cost", [mean_over_draws(noise[:, 0])])
    rows += probe_rows("cost", [ratio_of_means(target[:, 0], best)])
    return outcome(rows, flops=cost_kernel_ridge(cell).flops)


def _cost(products: float, factorisations: float, numbers: float) -> Cost:
    """FLOPs of large matrix products at 20 GFLOP/s and of factorisations at 4, normal numbers at 15 ns: one core."""
    seconds = 5e-11 * products + 2.5e-10 * factorisations + 1.5e-8 * numbers
    return Cost(products + factorisations, seconds, 2e8 + 6 * 8.0 * BATCH_ENTRIES)


def cost_teacher_student(cell: TeacherStudentCell) -> Cost:
    """Products and eigenvalues of Wishart matrices, and exponentials at every time."""
    small = min(cell.samples, cell.width)
    times = 60.0 * len(flow_times(cell.horizon)) * small
    return _cost(cell.draws * 2.0 * small**3, cell.draws * (1.4 * small**3 + times), cell.draws * small**2)


def cost_label_chain(cell: LabelChainCell) -> Cost:
    """One linear system a generation, and the last fit."""
    fits = cell.draws * (cell.generations + 1)
    return _cost(0.0, fits * 0.7 * cell.width**3, fits * cell.width**2)


def cost_kernel_ridge(cell: KernelRidgeCell) -> Cost:
    """Two products of n × d matrices, eigenvectors of the kernel, and its inverse at every ridge."""
    n, d = cell.samples, cell.width
    products = 4.0 * n**2 * d + 4.0 * len(RIDGES) * n**2
    return _cost(cell.draws * products, cell.draws * 13.0 * n**3, cell.draws * n * d)


EXPERIMENTS.register("teacher_student")(
    Experiment(
        summary="Gradient flow of a linear student on a noisy linear teacher: error over time and samples",
        stage="sample",
        cell=TeacherStudentCell,
        cost=cost_teacher_student,
        run=run_teacher_student,
        example=probe_example(
            "excess_error",
            {"aspect": 1.0, "snr": 1.0, "horizon": 64, "draws": 64},
            {"width": [20, 40, 80]},
            select={"step": 16},
            smoke={"draws": 8},
        ),
    )
)
EXPERIMENTS.register("label_chain")(
    Experiment(
        summary="Linear regression on labels made by earlier regressions: risk per generation",
        stage="sample",
        cell=LabelChainCell,
        cost=cost_label_chain,
        run=run_label_chain,
        example=probe_example(
            "excess_risk",
            {"width": 16, "label_ratio": 1.0, "generations": 4, "draws": 200},
            {"samples": [64, 128, 256, 512]},
            along="samples",
            select={"layer": 1},
            smoke={"draws": 20},
            predicted=-1,
        ),
    )
)
EXPERIMENTS.register("kernel_ridge")(
    Experiment(
        summary="Kernel ridge regression with Gaussian features: the cost of interpolating",
        stage="sample",
        cell=KernelRidgeCell,
        cost=cost_kernel_ridge,
        run=run_kernel_ridge,
        example=probe_example(
            "cost",
            {"spectrum": "power", "decay": 2.0, "source": 1.0, "noise": 0.1, "aspect": 0.0625, "draws": 64},
            {"samples": [16, 32, 64]},
            along="samples",
            smoke={"draws": 4},
        ),
    )
)
