"""The exponent of one fit under every reasonable choice of estimator, sorted by estimate."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pydantic import Field

from muster.config.models import FigureConfig, Scalar
from muster.errors import MusterError
from muster.plots import layout, style, words
from muster.plots.axes import draw_interval
from muster.plots.base import Options, plot
from muster.plots.data import PlotData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class SpecificationCurveOptions(Options):
    """Options of `specification_curve`."""

    where: dict[str, Scalar] = Field(default_factory=dict, description="Group of the fit: one value per `by` column")
    parameter: str | None = Field(None, description="The number of the fit that is shown; its first if absent")


def _shows(data: PlotData, spec: FigureConfig, options: SpecificationCurveOptions) -> str:
    return (
        f"{words.word(options.parameter or 'estimate')} of fit {words.word(spec.fit)} under every choice of estimator"
    )


@plot("specification_curve", SpecificationCurveOptions, _shows)
def specification_curve(data: PlotData, spec: FigureConfig, options: SpecificationCurveOptions) -> Figure:
    """One row per choice, sorted by estimate, with its 95 % interval; the declared one, which decides, stands out.

    Nothing here decides a claim: the figure shows how far the number leans on a choice that papers make silently
    (Simonsohn, Simmons & Nelson 2020).
    """
    if spec.fit is None:
        raise MusterError("fit", "missing", f"Fits of the study: {', '.join(data.study.fits)}")
    by = data.study.fits[spec.fit].by
    if set(options.where) != set(by):
        raise MusterError(
            "options.where", f"found {options.where}", f"One value for each of: {', '.join(by) or 'none'}"
        )
    curve = data.specification
    if len(curve):
        curve = curve[curve["fit"] == spec.fit]
        curve = curve[curve["group"].map(lambda text: json.loads(text) == options.where).astype(bool)]
    if len(curve):
        curve = curve[curve["parameter"] == (options.parameter or curve["parameter"].iloc[0])]
        curve = curve[curve["estimate"].map(math.isfinite).astype(bool)].sort_values("estimate", ignore_index=True)
    if curve.empty:
        return layout.empty_figure("no choice of estimator gives a number")
    fig, (ax,) = layout.panels(1, size=(4.6, 0.55 + 0.155 * len(curve)), room=2.6)
    fig.set_figheight(1.05 + 0.155 * len(curve))
    _draw(ax, curve)
    shaded = _region(ax, data, spec, options)
    ax.set_xlabel(f"{curve['parameter'].iloc[0].replace('_', ' ')} (dimensionless)")
    inside = f"{len(curve)} choices, estimates from {words.number_text(curve['estimate'].min())} to "
    note = (
        inside
        + words.number_text(curve["estimate"].max())
        + ("; shaded: what the study's claims assert" if shaded else "")
    )
    layout.panel_title(ax, words.phrase(options.where), note)
    return fig


def _draw(ax: Axes, curve: pd.DataFrame) -> None:
    spread = curve["estimate"].max() - curve["estimate"].min() or abs(curve["estimate"].iloc[0]) or 1.0
    declared = curve[curve["declared"]]
    ends = declared[["ci_low", "ci_high"]].to_numpy(float).ravel()
    known = [*curve["estimate"], *ends[[math.isfinite(end) for end in ends]]]
    window = (min(known) - 0.6 * spread, max(known) + 0.6 * spread)
    for at, (_, row) in enumerate(curve.iterrows()):
        color = style.CATEGORIES[1] if row["declared"] else style.MUTED
        low, high = float(row["ci_low"]), float(row["ci_high"])
        draw_interval(ax, at, row["estimate"], (low, high), window, "x", color)
        ax.plot([row["estimate"]], [at], "o", color=color, ms=4, zorder=4)
    labels = [f"{row['label']}, {words.word(row['variant'])}" for _, row in curve.iterrows()]
    ax.set_yticks(range(len(curve)), labels, fontsize=6.5)
    ax.set_ylim(-0.8, len(curve) - 0.2)
    ax.set_xlim(*window)
    ax.grid(False, axis="y")


def _region(ax: Axes, data: PlotData, spec: FigureConfig, options: SpecificationCurveOptions) -> bool:
    """Shade the region that the study's claims assert of this number; whether there is one."""
    shaded = False
    for claim in data.study.claims:
        if (claim.fit, claim.where) == (spec.fit, options.where) and claim.parameter in (None, options.parameter):
            low, high = words.claimed_region(claim.predicted, claim.margin, claim.test)
            left, right = ax.get_xlim()
            if low < right and high > left:
                ax.axvspan(max(low, left), min(high, right), color=style.CATEGORIES[0], alpha=0.08, lw=0, zorder=0)
                shaded = True
    return shaded
