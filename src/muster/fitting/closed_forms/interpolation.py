"""Closed forms of networks that fit all their targets, in the units of `muster.sampling.interpolation_hessian`."""

import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("interpolation_rank")
def interpolation_rank(table: pd.DataFrame) -> pd.Series:
    """n C, n = samples, C = outputs: the rank of the Hessian of the squared error where the N > nC parameters leave no
    residual. Derived: it is JᵀJ/n there (Gauss–Newton), and rank JᵀJ = rank J, which is that of nC independent rows."""
    require_columns(table, ["samples", "outputs"], "options.formula")
    return table["samples"].astype(float) * table["outputs"]
