"""Closed forms of stochastic gradient descent, in the units of `muster.sampling.accelerated_sgd`."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("asgd_rate_share")
def asgd_rate_share(table: pd.DataFrame) -> pd.Series:
    """ln(1 − δλ)/ln|μ|, λ = layer^(−decay): the decay rate of a mean error under SGD over that under accelerated SGD.

    Derived: a fresh sample has E xxᵀ = diag(λ), so the means of w and z obey a linear map of two numbers in every
    direction, whose larger eigenvalue is μ. Its trace is (1 − δλ)α + (β − γλ)(1 − α) + 1 − β, its determinant
    (1 − δλ)(1 − β)/(1 + β), with α = 1/(1 + β), γ = acceleration·δ. Limit λ → 0: 2δ/(γ + δ).
    """
    columns = ["layer", "decay", "learning_rate", "acceleration", "momentum"]
    require_columns(table, columns, "options.formula")
    layer, decay, delta, acceleration, beta = (table[column].astype(float) for column in columns)
    size = layer**-decay
    trace = ((1 - delta * size) + (beta - acceleration * delta * size) * beta) / (1 + beta) + 1 - beta
    determinant = (1 - delta * size) * (1 - beta) / (1 + beta)
    root = np.sqrt((trace**2 / 4 - determinant).astype(complex))
    return pd.Series(np.log1p(-delta * size) / np.log(np.abs(trace / 2 + root)), index=table.index)
