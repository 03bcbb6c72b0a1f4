"""Closed forms of points on a torus, in the units of `muster.sampling.torus_regression`."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("nearest_distance")
def nearest_distance(table: pd.DataFrame) -> pd.Series:
    """Γ(1 + 1/d) Γ(N + 1)/Γ(N + 1 + 1/d) v_d^(−1/d), N = width, v_d = π^(d/2)/Γ(d/2 + 1): ∫ (1 − v_d r^d)^N dr, where
    no ball that matters reaches around the torus. P. Clark and F. Evans (1954) for d = 2 and large N, 1/(2√N)."""
    from scipy.special import gammaln

    require_columns(table, ["width", "dimension"], "options.formula")
    d, points = table["dimension"].astype(float), table["width"].astype(float)
    volume = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    log_mean = gammaln(1 + 1 / d) + gammaln(points + 1) - gammaln(points + 1 + 1 / d) - volume / d
    return pd.Series(np.exp(log_mean), index=table.index)
