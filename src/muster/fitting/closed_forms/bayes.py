"""Closed forms of Bayesian interpolation with deep linear networks."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("deep_linear_scale")
def deep_linear_scale(table: pd.DataFrame) -> pd.Series:
    """t/ln ν with t the root of t/λ = ν e^(−t) − 1, λ = effective_depth, ν = evidence.

    Derived from `muster.sampling.deep_bayes`: the prior of t = ln s is near normal with variance 2L/N = 2λ/P, and the
    exponent −t²P/4λ − (P/2)(t + ν e^(−t)) has its maximum there, exact as P, L → ∞ at fixed λ (Laplace). In Wright's
    function ω(z) = W(e^z) (Corless & Jeffrey 2002): t = ω(λ + ln νλ) − λ.
    """
    from scipy.special import wrightomega

    require_columns(table, ["effective_depth", "evidence"], "options.formula")
    depth, evidence = table[["effective_depth", "evidence"]].to_numpy(float).T
    root = wrightomega(depth + np.log(evidence * depth)) - depth
    return pd.Series(root / np.log(evidence), index=table.index)
