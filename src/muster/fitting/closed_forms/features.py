"""Closed forms of autoencoders on sparse features, in the units of `muster.data.sparse_features`."""

import numpy as np
import pandas as pd

from muster.data.sparse_features import LARGEST, probabilities
from muster.fitting.estimators.closed_form import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("unrepresented_variance")
def unrepresented_variance(table: pd.DataFrame) -> pd.Series:
    """Mean ‖f − x‖² = Σ_{i>m} Var x_i with m = width directions for the m most frequent of n features and none shared.

    x_i = s_i v_i has the variance p_i V²/3 − (p_i V/2)², p_i ∝ i^−decay and V = LARGEST. A bias restores the mean, and
    nothing linear does better: features are independent, so this is the residual of principal components. It falls like
    m^−(decay − 1) for 1 ≪ m ≪ n (Liu, Liu & Gore 2025, weak superposition; the sum with the variance is derived).
    """
    require_columns(table, ["features", "decay"], "options.formula")
    values = []
    for m, n, decay in table[["width", "features", "decay"]].itertuples(index=False):
        p = probabilities(int(n), float(decay))
        tails = np.append(np.cumsum((p * LARGEST**2 / 3 - (p * LARGEST / 2) ** 2)[::-1])[::-1], 0.0)
        # Between whole numbers of directions the line that a figure draws is continued linearly.
        values.append(np.interp(m, np.arange(len(tails)), tails))
    return pd.Series(values, index=table.index)
