"""Closed forms of chains of random layers: fluctuations of norms, and the spectrum of a long product of matrices."""

import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS


@CLOSED_FORMS.register("relu_kurtosis_ratio")
def relu_kurtosis_ratio(table: pd.DataFrame) -> pd.Series:
    """E z⁴ / (3 (E z²)²) = (1 + 5/n)^ℓ for bias-free He ReLU layers of width n (Hanin 2022; exact)."""
    return (1 + 5 / table["width"]) ** table["layer"]


@CLOSED_FORMS.register("relu_log_norm_var")
def relu_log_norm_var(table: pd.DataFrame) -> pd.Series:
    """Var ln ‖z_ℓ‖² ≈ 5 ℓ/n for bias-free He ReLU layers of width n (Hanin 2022; first order in 1/n)."""
    return 5 * table["layer"] / table["width"]


@CLOSED_FORMS.register("tanh_norm_var")
def tanh_norm_var(table: pd.DataFrame) -> pd.Series:
    """Var S / (E S)² ≈ (2/3) ℓ/n for critical tanh layers, S = ‖z_ℓ‖²/n (Hanin 2022; Roberts, Yaida & Hanin 2021)."""
    return 2 / 3 * table["layer"] / table["width"]


@CLOSED_FORMS.register("ks_gaussian_product")
def ks_gaussian_product(table: pd.DataFrame) -> pd.Series:
    """KS distance from U[0, 1] of the squared singular values^(1/N) of a product of N → ∞ Gaussian n × n matrices ≈ 1/n
    (from the Lyapunov spectrum; Hanin & Jiang 2025)."""
    return 1 / table["width"]
