"""Closed forms of random networks: fluctuations, kernels, smoothing, and the stability of random curvature.

Each reads shapes and settings from the columns of a table of probes and returns the predicted value of every row.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.fitting.estimators.closed_form import CLOSED_FORMS, Formula
from muster.fitting.frames import require_columns

Array = NDArray[np.float64]


def _reads(name: str, *columns: str) -> Callable[[Formula], Formula]:
    """Register a closed form that raises a MusterError when a setting it reads is no column: constants of a grid are
    none."""

    def register(formula: Formula) -> Formula:
        @functools.wraps(formula)
        def checked(table: pd.DataFrame) -> pd.Series:
            require_columns(table, columns, "options.formula")
            return formula(table)

        CLOSED_FORMS.register(name)(checked)
        return checked

    return register


# Largest value of |3x − x³| φ(x)/8, at x² = 3 − √6, and its integral over the real line: see sampling.output_law.
_ROOT = math.sqrt(3 - math.sqrt(6))
KS_PER_VARIANCE = (3 * _ROOT - _ROOT**3) * math.exp(-(_ROOT**2) / 2) / (8 * math.sqrt(2 * math.pi))
W1_PER_VARIANCE = (1 + 4 * math.exp(-1.5)) / (4 * math.sqrt(2 * math.pi))


def _gaussian_moments(variance: float) -> tuple[float, float, float]:
    """E t², E t⁴ and the logarithmic derivative d ln E t²/d ln K of t = tanh(√K g)."""
    nodes, weight = np.polynomial.hermite_e.hermegauss(160)
    weight = weight / weight.sum()
    t = np.tanh(math.sqrt(variance) * nodes)
    second = float(weight @ t**2)
    return second, float(weight @ t**4), float(weight @ (t * (1 - t**2) * nodes)) * math.sqrt(variance) / second


def tanh_relative_variance(layers: int, input_variance: float = 1.0) -> list[float]:
    """n Var S_ℓ/(E S_ℓ)², ℓ = 1 … layers, of the critical tanh chain to first order in 1/n.

    S_ℓ is a mean of n independent tanh² given S_{ℓ−1}: Var' = E t⁴ − (E t²)² over n, plus (d E t²/dK)² Var (delta
    method).
    """
    kernel, relative, found = input_variance, 0.0, []
    for _ in range(layers):
        second, fourth, slope = _gaussian_moments(kernel)
        relative = fourth / second**2 - 1 + slope**2 * relative
        kernel = second
        found.append(relative)
    return found


@CLOSED_FORMS.register("relu_output_ks")
def relu_output_ks(table: pd.DataFrame) -> pd.Series:
    """Kolmogorov distance of a He ReLU network's output from a Gaussian ≈ 0.0688 · 5ℓ/n (Edgeworth; first order)."""
    return KS_PER_VARIANCE * 5 * table["layer"] / table["width"]


@CLOSED_FORMS.register("relu_output_wasserstein")
def relu_output_wasserstein(table: pd.DataFrame) -> pd.Series:
    """Wasserstein-1 distance, in standard deviations, of a He ReLU network's output from a Gaussian ≈ 0.189 · 5ℓ/n."""
    return W1_PER_VARIANCE * 5 * table["layer"] / table["width"]


@CLOSED_FORMS.register("tanh_output_ks")
def tanh_output_ks(table: pd.DataFrame) -> pd.Series:
    """Kolmogorov distance of a critical tanh network's output (unit input variance) from a Gaussian ≈ 0.0688 Var S/(E
    S)², the variance to first order in 1/n."""
    relative = tanh_relative_variance(math.ceil(table["layer"].max()))
    at_layer = np.interp(table["layer"], np.arange(1, len(relative) + 1), relative)
    return KS_PER_VARIANCE * at_layer / table["width"]


@CLOSED_FORMS.register("tanh_critical_kernel")
def tanh_critical_kernel(table: pd.DataFrame) -> pd.Series:
    """K_ℓ ≈ 1/(2ℓ): E tanh² = K − 2K² + … at C_W = 1 (Roberts, Yaida & Hanin 2021, chapter 5)."""
    return 1 / (2 * table["layer"])


@_reads("relu_kernel_factor", "weight_variance")
def relu_kernel_factor(table: pd.DataFrame) -> pd.Series:
    """K_ℓ/K_{ℓ−1} = C_W/2 at every layer: E relu(√K g)² = K/2 (Roberts, Yaida & Hanin 2021, chapter 5)."""
    return table["weight_variance"] / 2


@_reads("tanh_ordered_factor", "weight_variance")
def tanh_ordered_factor(table: pd.DataFrame) -> pd.Series:
    """K_ℓ/K_{ℓ−1} → C_W for C_W < 1: tanh is linear in a kernel that vanishes (Roberts, Yaida & Hanin 2021, chapter
    5)."""
    return table["weight_variance"].astype(float)


def _tanh_fixed_point(weight_variance: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda k: weight_variance * _gaussian_moments(k)[0] - k, 1e-6, weight_variance))


@_reads("tanh_fixed_point", "weight_variance")
def tanh_fixed_point(table: pd.DataFrame) -> pd.Series:
    """K* > 0 with K* = C_W E tanh²(√K* g), which exists for C_W > 1 (mean-field recursion)."""
    return table["weight_variance"].map(lambda value: _tanh_fixed_point(float(value)))


@CLOSED_FORMS.register("tanh_tangent_factor")
def tanh_tangent_factor(table: pd.DataFrame) -> pd.Series:
    """χ⊥ at the layer after ℓ − 1 of a critical tanh network = E (1 − tanh²)² ≈ 1 − 2K = 1 − 1/(ℓ − 1), K = 1/(2(ℓ −
    1)), for ℓ > 2 (Roberts, Yaida & Hanin 2021, chapter 5)."""
    return 1 - 1 / (table["layer"] - 1)


@CLOSED_FORMS.register("siren_claimed_variance")
def siren_claimed_variance(table: pd.DataFrame) -> pd.Series:
    """Preactivations of variance 1 at every layer (Sitzmann et al. 2020)."""
    return pd.Series(1.0, index=table.index)


@CLOSED_FORMS.register("siren_variance")
def siren_variance(table: pd.DataFrame) -> pd.Series:
    """K_1 = 1, K_{ℓ+1} = 1 − e^(−2 K_ℓ): weights of variance 2/n and E sin²(√K g) = (1 − e^(−2K))/2 (characteristic
    function of a normal number)."""
    kernel = [1.0]
    while len(kernel) < table["layer"].max():
        kernel.append(-math.expm1(-2 * kernel[-1]))
    return pd.Series(np.interp(table["layer"], np.arange(1, len(kernel) + 1), kernel), index=table.index)


@_reads("ring_smoothing", "nodes", "reach", "epsilon")
def ring_smoothing(table: pd.DataFrame) -> pd.Series:
    """Fall of the nodes' dispersion a layer on a ring = (1 − ε + ε λ)², λ = (1 + 2 Σ_m cos(2πm/T))/(2 reach + 1) the
    second eigenvalue of the mean over `reach` neighbours on either side (circulant matrix; sampling.graph_network)."""
    steps = np.arange(1, int(table["reach"].max()) + 1)
    waves = np.cos(2 * np.pi * steps / table["nodes"].to_numpy(float)[:, None])
    inside = steps <= table["reach"].to_numpy(float)[:, None]
    eigenvalue = (1 + 2 * (waves * inside).sum(axis=1)) / (2 * table["reach"] + 1)
    return (1 - table["epsilon"] + table["epsilon"] * eigenvalue) ** 2


@CLOSED_FORMS.register("one")
def one(table: pd.DataFrame) -> pd.Series:
    """1: for a response that is already measured ∕ predicted."""
    return pd.Series(1.0, index=table.index)


@_reads("graph_size_factor", "weight_variance")
def graph_size_factor(table: pd.DataFrame) -> pd.Series:
    """Growth C_W/2 of E‖H‖² a layer once nodes are alike, as the aggregator keeps a constant vector (DeZoort & Hanin
    2023)."""
    return table["weight_variance"] / 2


@_reads("attention_smoothing", "residual")
def attention_smoothing(table: pd.DataFrame) -> pd.Series:
    """Fall 1/(1 + β²) a layer of the dispersion of tokens that are nearly alike (sampling.attention_network)."""
    return 1 / (1 + table["residual"] ** 2)


@_reads("attention_dispersion", "tokens", "residual")
def attention_dispersion(table: pd.DataFrame) -> pd.Series:
    """1 − mean cosine = (T − 1)/(T − 1 + (1 + β²)^ℓ) from T independent tokens (sampling.attention_network)."""
    return (table["tokens"] - 1) / (table["tokens"] - 1 + (1 + table["residual"] ** 2) ** table["layer"])


def log_normal_modulus(mean: float, spread: float) -> float:
    """E ln|X| of X ~ N(mean, spread²), exactly.

    (X/spread)² is noncentral χ² with one degree of freedom, a Poisson mixture of central ones, and E ln χ²_k = ln 2 +
    ψ(k/2).
    """
    from scipy import special, stats

    half = (mean / spread) ** 2 / 2
    terms = np.arange(int(half + 12 * math.sqrt(half) + 60))
    return math.log(spread) + 0.5 * (math.log(2) + float(stats.poisson.pmf(terms, half) @ special.digamma(terms + 0.5)))


@_reads("lyapunov_factor", "landscape", "learning_rate", "batch_size", "noise")
def lyapunov_factor(table: pd.DataFrame) -> pd.Series:
    """exp E ln|1 − ηh| at a minimum, exp E ln|1 + ηh| at the saddle, h ~ N(1, σ²/B) (Ziyin et al. 2023)."""
    sign = table["landscape"].map({"minimum": -1.0, "saddle": 1.0})
    spread = table["learning_rate"] * table["noise"] / np.sqrt(table["batch_size"])
    values = [
        math.exp(log_normal_modulus(m, s)) for m, s in zip(1 + sign * table["learning_rate"], spread, strict=True)
    ]
    return pd.Series(values, index=table.index)


def _minimum_threshold(rate: float) -> float:
    """ησ at which E ln|1 − ηh| = 0: from below, where noise stops the convergence."""
    from scipy.optimize import brentq

    return float(brentq(lambda spread: log_normal_modulus(1 - rate, spread), max(abs(1 - rate), 0.05), 8.0))


def _saddle_threshold(rate: float) -> float:
    """The smaller ησ at which E ln|1 + ηh| = 0: E ln|1 + τ g| has its minimum, −0.28, near τ = 0.85."""
    from scipy.optimize import brentq

    return float(brentq(lambda spread: log_normal_modulus(1 + rate, spread), math.sqrt(rate), 0.85 * (1 + rate)))


def _noise(table: pd.DataFrame, threshold: Array) -> pd.Series:
    return pd.Series(threshold, index=table.index) / table["learning_rate"] * np.sqrt(table["batch_size"])


@_reads("minimum_noise_threshold", "learning_rate", "batch_size")
def minimum_noise_threshold(table: pd.DataFrame) -> pd.Series:
    """Label noise σ above which a minimum repels in probability: the root of E ln|1 − ηh| (Ziyin et al. 2023)."""
    return _noise(table, np.array([_minimum_threshold(rate) for rate in table["learning_rate"]]))


@_reads("saddle_noise_threshold", "learning_rate", "batch_size")
def saddle_noise_threshold(table: pd.DataFrame) -> pd.Series:
    """Label noise σ above which the rank-0 saddle attracts in probability: the root of E ln|1 + ηh| (Ziyin et al.
    2023)."""
    return _noise(table, np.array([_saddle_threshold(rate) for rate in table["learning_rate"]]))


@_reads("mean_square_noise_threshold", "learning_rate", "batch_size")
def mean_square_noise_threshold(table: pd.DataFrame) -> pd.Series:
    """Label noise σ above which a minimum is unstable in mean square: E(1 − ηh)² = 1 at σ²/B = 2/η − 1."""
    return (table["batch_size"] * (2 / table["learning_rate"] - 1)) ** 0.5
