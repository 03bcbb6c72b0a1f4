"""Closed forms of the outlier of a mini-batch Hessian, in the units of `muster.sampling.batch_hessian`: pσ² = 1."""

import numpy as np
import pandas as pd

from muster.fitting.estimators.closed_form import CLOSED_FORMS
from muster.fitting.frames import require_columns

COLUMNS = ["outlier", "batch_size"]


@CLOSED_FORMS.register("batch_outlier")
def batch_outlier(table: pd.DataFrame) -> pd.Series:
    """λ' = λ + pσ²/(Bλ) for λ² > pσ²/B, else the edge 2σ√(p/B) of the noise (Granziol, Zohren & Roberts 2020; the
    largest eigenvalue of a deformed Wigner matrix: Péché 2006)."""
    require_columns(table, COLUMNS, "options.formula")
    spike, variance = table["outlier"].astype(float), 1 / table["batch_size"].astype(float)
    return (spike + variance / spike).where(spike**2 > variance, 2 * np.sqrt(variance))


@CLOSED_FORMS.register("outlier_excess")
def outlier_excess(table: pd.DataFrame) -> pd.Series:
    """λ' − λ = pσ²/(Bλ), for noise of any kind to leading order in 1/B and 1/p (Granziol, Zohren & Roberts 2020).

    Second-order perturbation theory of a simple eigenvalue λ above a spectrum at 0: E‖P(H_B − H)v‖²/λ. For outer
    products of Gaussian gradients the spiked covariance model has λ'/λ = 1 + (p/B) s/(λ − s), s = pσ²/(λp) (Baik &
    Silverstein 2006), which differs by the factor 1/(1 − s/λ).
    """
    require_columns(table, COLUMNS, "options.formula")
    return 1 / (table["batch_size"] * table["outlier"])
