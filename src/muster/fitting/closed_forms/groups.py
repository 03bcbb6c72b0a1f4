"""Closed forms of learning a group's table, in the units of `muster.sampling.modular_training`."""

import numpy as np
import pandas as pd

from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.frames import require_columns


@CLOSED_FORMS.register("critical_pairs")
def critical_pairs(table: pd.DataFrame) -> pd.Series:
    """2.7482 M ln M, M = modulus: of an abelian group's M² pairs Y. Tian's code (yuandong-tian/understanding on GitHub,
    ssl/real-dataset/cogo, config/dyn_madd.yaml) trains on ln M/M times `critical_ratio_multiplier`."""
    require_columns(table, ["modulus"], "options.formula")
    m = table["modulus"].astype(float)
    return 2.7482 * m * np.log(m)
