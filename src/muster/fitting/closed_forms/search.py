"""Closed forms of the best of n trials."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("uniform_plug_in")
def uniform_plug_in(table: pd.DataFrame) -> pd.Series:
    """(B − Σ_{j<B} (j/B)ⁿ)/(B + 1), the mean of the plug-in estimate of the best of n = share·B uniform trials from B =
    width. Derived: the i-th of B sorted uniform draws has mean i/(B + 1), and the weights (i/B)ⁿ − ((i − 1)/B)ⁿ sum by
    parts. The truth is n/(n + 1)."""
    require_columns(table, ["width", "share"], "options.formula")
    trials = table["width"].round().astype(int)
    sums = [
        np.sum((np.arange(total) / total) ** max(1, round(share * total)))
        for total, share in zip(trials, table["share"], strict=True)
    ]
    return (trials - pd.Series(sums, index=table.index)) / (trials + 1)
