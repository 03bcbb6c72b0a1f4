"""Closed forms of embeddings, in the units of `muster.sampling.free_embedding`."""

import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("critical_documents")
def critical_documents(table: pd.DataFrame) -> pd.Series:
    """−10.5322 + 4.0309 d + 0.0520 d² + 0.0037 d³, d = width: O. Weller et al. 2025 for pairs, from memory. At d = 512,
    768 and 1024 it gives 0.51, 1.71 and 4.03 million, where others quote 0.5, 1.7 and 4."""
    require_columns(table, ["width"], "options.formula")
    d = table["width"].astype(float)
    return -10.5322 + 4.0309 * d + 0.0520 * d**2 + 0.0037 * d**3
