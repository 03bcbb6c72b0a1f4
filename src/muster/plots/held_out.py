"""Runs that a fit has not seen: what was measured against what was predicted for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.config.models import FigureConfig
from muster.errors import MusterError
from muster.plots import layout, style, words
from muster.plots.axes import draw_error_bars, fit_log_axis, log_x_axis
from muster.plots.base import Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import estimates_of_group, panel_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MANY = 60  # runs whose intervals have room beside each other


class HeldOutOptions(Options):
    """Options of `held_out`."""

    x: str | None = Field(None, description="Label of the x-axis, by default the response as it was measured")


def _shows(data: PlotData, spec: FigureConfig, options: HeldOutOptions) -> str:
    response = data.study.fits[str(spec.fit)].response
    return f"predicted against measured {words.name_of(response)} of runs that were held out"


@plot("held_out", HeldOutOptions, _shows)
def held_out(data: PlotData, spec: FigureConfig, options: HeldOutOptions) -> Figure:
    """Predicted against measured for runs held out of a fit, with 95 % intervals for one run, about the line where they
    are equal.

    A run outside of its interval is a ring, one without an interval a small dot.
    """
    if spec.fit is None:
        raise MusterError("fit", "missing", f"Name a fit that holds runs out: {', '.join(data.study.fits)}")
    rows = data.predictions
    rows = rows[rows["fit"] == spec.fit] if len(rows) else rows
    found = panel_order([json.loads(text) for text in rows["group"].unique()] if len(rows) else [])
    parts = [(group, estimates_of_group(rows, spec.fit, group)) for group in found]
    shown = [(group, part[part["predicted"].notna()]) for group, part in parts if part["predicted"].notna().any()]
    if not shown:
        return layout.empty_figure("no run was held out and predicted: see the notes of the fits")
    fig, axes = layout.panels(len(shown), layout.columns_for([group for group, _ in shown]), sharex=False, sharey=False)
    for ax, (group, part) in zip(axes, shown, strict=True):
        _draw(ax, part)
        layout.panel_title(ax, words.phrase(group), _note(part))
    label = data.label(data.study.fits[spec.fit].response)
    layout.outer_labels(axes, options.x or f"measured {label}", words.stacked_label(f"predicted {label}", 24))
    layout.legend(fig, _keys(axes))
    return fig


def _draw(ax: Axes, rows: pd.DataFrame) -> None:
    inside = _inside(rows)
    looks: dict[str, tuple[Any, dict[str, Any]]] = {
        "inside": (inside.fillna(False), {"marker": "o", "ms": 4 if len(rows) <= MANY else 1.5}),
        "outside": (~inside.fillna(True), {"marker": "o", "ms": 5, "mfc": "none"}),
        "no interval": (inside.isna(), {"marker": ".", "ms": 4}),
    }
    color = style.CATEGORIES[0]
    for name, (of_these, how) in looks.items():
        part = rows[of_these.astype(bool)]
        if part.empty:
            continue
        x, y = part["measured"].to_numpy(float), part["predicted"].to_numpy(float)
        if name != "no interval":
            ends = [y - part["low"].to_numpy(float), part["high"].to_numpy(float) - y]
            # Many intervals stand for a band: drawn in full they would hide the runs and the line.
            thin = {"elinewidth": 0.9} if len(rows) <= MANY else {"elinewidth": 0.5, "alpha": 0.12}
            draw_error_bars(ax, x, y, yerr=ends, fmt="none", ecolor=color, zorder=1.8, **thin)
        ax.plot(x, y, ls="none", color=color, zorder=3, gid=name, **how)
    low, high = float(rows["measured"].min()), float(rows["measured"].max())
    log_x_axis(ax, low, high)
    fit_log_axis([ax])
    ax.axline((low, low), (high if high > low else low * 2, high if high > low else low * 2), color=style.INK, lw=0.9,
              zorder=2, gid="equal")  # fmt: skip


def _inside(rows: pd.DataFrame) -> pd.Series:
    """Missing where there is no interval: a table that was stored has objects there, of which ~True is −2."""
    return rows["inside"].astype("boolean")


def _note(rows: pd.DataFrame) -> str:
    known = rows["inside"].notna()
    parts = [f"{len(rows)} runs, mean |error| {rows['error'].abs().mean():.2%}"]
    if known.any():
        parts.append(f"{int(_inside(rows).sum())} of {int(known.sum())} in their intervals")
    return "; ".join(parts)


def _keys(axes: list[Axes]) -> list[Any]:
    seen = layout.drawn_by_name(axes)
    labels = {
        "inside": ("run in its 95 % interval", {"marker": "o"}),
        "outside": ("run outside of it", {"marker": "o", "mfc": "none"}),
        "no interval": ("run without an interval", {"marker": "."}),
    }
    keys = [
        layout.line_key(label, style.CATEGORIES[0], ls="none", **how)
        for name, (label, how) in labels.items()
        if name in seen
    ]
    return [*keys, layout.line_key("predicted = measured", style.INK, lw=0.9)]
