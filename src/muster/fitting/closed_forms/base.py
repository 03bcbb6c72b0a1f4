"""The registry of closed forms."""

from collections.abc import Callable

import pandas as pd

from muster.registry import Registry

Formula = Callable[[pd.DataFrame], pd.Series]
CLOSED_FORMS: Registry[Formula] = Registry("closed form", modules=("muster.fitting.closed_forms",))
