"""Closed forms of gradient descent on matrix products, in the units of `muster.sampling.factorization`."""

import numpy as np
import pandas as pd

from muster.fitting.estimators.closed_form import CLOSED_FORMS
from muster.fitting.frames import require_columns
from muster.sampling.factorization import DEEP_RATE, SENSING_RATE

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)


@CLOSED_FORMS.register("deep_linear_strength")
def deep_linear_strength(table: pd.DataFrame) -> pd.Series:
    """u_i/s_i = 1/(1 + (e^k − 1) e^(−2 s_i t)) with one hidden layer, s_i = 1/layer, 2t = DEEP_RATE·step, k = efolds
    (Saxe, McClelland & Ganguli 2013; the solution of du/dt = 2u(s − u))."""
    require_columns(table, ["step", "layer", "efolds"], "options.formula")
    time = DEEP_RATE * table["step"] / table["layer"]
    return 1 / (1 + np.expm1(table["efolds"]) * np.exp(-time))


@CLOSED_FORMS.register("deep_linear_time")
def deep_linear_time(table: pd.DataFrame) -> pd.Series:
    """Time Lt at which mode 1 of a balanced network of L = depth + 1 matrices reaches ½ from e^(−efolds):
    ∫ dy/(y^(2−2/L)(1 − y)) over that range (Saxe, McClelland & Ganguli 2013), by Gauss's rule in −ln y.

    It tends to a finite limit with depth: a deep network learns as fast as a shallow one at a learning rate ∝ 1/L.
    """
    require_columns(table, ["depth", "efolds"], "options.formula")
    start, half = table["efolds"].to_numpy(float)[:, None], np.log(2)
    level = half + (start - half) * (NODES + 1) / 2
    power = 1 - 2 / (table["depth"].to_numpy(float)[:, None] + 1)
    integral = (np.exp(power * level) / -np.expm1(-level)) @ WEIGHTS * (start[:, 0] - half) / 2
    return pd.Series(integral, index=table.index)


@CLOSED_FORMS.register("sensing_tail")
def sensing_tail(table: pd.DataFrame) -> pd.Series:
    """‖XXᵀ − M‖² → (k − r)/(4t²), t = SENSING_RATE·step, with k − r = excess columns too many.

    Once the signal is learned, what is left of X lives in the k − r spare directions, where dX/dt = −XXᵀX: each
    singular value obeys dσ/dt = −σ³, so σ² = 1/(2t + 1/σ₀²) → 1/(2t). Derived; the rate T^(−2) is that of Xiong, Ding
    & Du (2023).
    """
    require_columns(table, ["step", "excess"], "options.formula")
    return table["excess"] / (2 * SENSING_RATE * table["step"]) ** 2
