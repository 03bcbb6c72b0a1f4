"""Closed forms of floating-point numbers, in the units of `muster.sampling.softmax_collapse`."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("collapse_margin")
def collapse_margin(table: pd.DataFrame) -> pd.Series:
    """b ln 2 + ln(C − 1): from there on C − 1 equal numbers exp(−margin) are at most half a unit in the last of b
    places of 1, and their sum with it is rounded to 1 (ties to even). Derived."""
    require_columns(table, ["bits", "classes"], "options.formula")
    return table["bits"].astype(float) * np.log(2) + np.log(table["classes"].astype(float) - 1)
