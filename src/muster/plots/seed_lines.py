"""Lines over an axis with the range of seeds behind them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def geometric_mean(values: Any) -> float:
    """Geometric mean of positive numbers; missing ones are left out, none gives NaN."""
    import numpy as np

    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(np.exp(np.log(known).mean())) if len(known) else float("nan")


def draw_seed_lines(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    hue: str,
    hues: dict[Any, Any],
    centre: str | Callable[[Any], float] = "mean",
    ceiling: float = math.inf,
    **line: Any,
) -> None:
    """One line of `centre` over seeds per value of `hue`, with the range of seeds as a band.

    The range needs no assumption and never leaves the data, which matters with three seeds and on log axes. Centres
    above `ceiling` keep their line but have no marker: the axis ends there.
    """
    found = rows[rows[y].notna()].groupby([hue, x], sort=True)[y]
    seeds = found.agg(["min", "max"]).assign(centre=found.agg(centre)).reset_index()
    for value, each in seeds.groupby(hue):
        shown = (each["centre"] <= ceiling).tolist()
        ax.plot(each[x], each["centre"], color=hues[value], markevery=None if all(shown) else shown, **line)
        if (each["max"] > each["min"]).any():
            ax.fill_between(each[x], each["min"], each["max"], color=hues[value], alpha=0.18, lw=0, gid="range")
