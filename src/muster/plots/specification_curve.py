"""The exponent of one fit under every reasonable choice of estimator, sorted by estimate."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.config.models import FigureConfig, Scalar
from muster.errors import MusterError
from muster.plots import layout, power_law, style, words
from muster.plots.axes import draw_interval, log_x_axis
from muster.plots.base import Options, plot
from muster.plots.data import PlotData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LABELS = 2.6  # inches of the names of the choices
DECADES = 100  # range of a number from which on its axis is logarithmic


class SpecificationCurveOptions(Options):
    """Options of `specification_curve`."""

    where: dict[str, Scalar] = Field(default_factory=dict, description="Group of the fit: one value per `by` column")
    parameter: str | None = Field(None, description="The number of the fit that is shown; its first if absent")


def _shows(data: PlotData, spec: FigureConfig, options: SpecificationCurveOptions) -> str:
    curve = _curve(data, spec, options)
    parameter = options.parameter or (curve["parameter"].iloc[0] if len(curve) else "estimate")
    fit = f"\N{LEFT SINGLE QUOTATION MARK}{words.word(spec.fit)}\N{RIGHT SINGLE QUOTATION MARK}"
    return f"{words.symbol(parameter)} of the fit {fit} under every choice of estimator"


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
    curve = _curve(data, spec, options)
    if curve.empty:
        return layout.empty_figure("no choice of estimator gives a number")
    fig, (ax,) = layout.panels(1, room=LABELS + layout.LEGEND)
    fig.set_figheight(1.4 + 0.155 * len(curve))
    _draw(ax, curve, _axis(data, spec))
    told = _claims(ax, data, spec, options)
    ax.set_xlabel(f"{words.symbol(curve['parameter'].iloc[0])} (dimensionless)")
    low, high = curve["estimate"].min(), curve["estimate"].max()
    digits = words.decimals_for(high - low)
    ends = f"{words.number_text(low, digits)} to {words.number_text(high, digits)}"
    layout.panel_title(
        ax, words.phrase(options.where), "; ".join([f"{len(curve)} choices, estimates from {ends}", *told])
    )
    layout.legend(fig, _keys(layout.drawn_by_name([ax])))
    return fig


def _curve(data: PlotData, spec: FigureConfig, options: SpecificationCurveOptions) -> pd.DataFrame:
    """The choices that gave a number, sorted by it."""
    curve = data.specification
    if len(curve):
        curve = curve[curve["fit"] == spec.fit]
        curve = curve[curve["group"].map(lambda text: json.loads(text) == options.where).astype(bool)]
    if len(curve):
        curve = curve[curve["parameter"] == (options.parameter or curve["parameter"].iloc[0])]
        curve = curve[curve["estimate"].map(math.isfinite).astype(bool)].sort_values("estimate", ignore_index=True)
    return curve


def _axis(data: PlotData, spec: FigureConfig) -> str:
    """The name of the fit's axis: as another figure of the fit has it, else the column's own."""
    labels = [each.options.get("x_label") for each in data.study.figures.values() if each.fit == spec.fit]
    known = [label for label in labels if label]
    return words.without_unit(known[0]) if known else words.name_of(data.study.fits[str(spec.fit)].along)


def _draw(ax: Axes, curve: pd.DataFrame, axis: str) -> None:
    spread = curve["estimate"].max() - curve["estimate"].min() or abs(curve["estimate"].iloc[0]) or 1.0
    declared = curve[curve["declared"]]
    ends = declared[["ci_low", "ci_high"]].to_numpy(float).ravel()
    known = [*curve["estimate"], *ends[[math.isfinite(end) for end in ends]]]
    log = min(known) > 0 and max(known) > DECADES * min(known)
    window = (min(known) / 2, 2 * max(known)) if log else (min(known) - 0.6 * spread, max(known) + 0.6 * spread)
    for at, (_, row) in enumerate(curve.iterrows()):
        color = style.CATEGORIES[1] if row["declared"] else style.MUTED
        low, high = float(row["ci_low"]), float(row["ci_high"])
        draw_interval(ax, at, row["estimate"], (low, high), window, "x", color)
        ax.plot(
            [row["estimate"]], [at], "o", color=color, ms=4, zorder=4, gid="declared" if row["declared"] else "other"
        )
    variants = curve["variant"].nunique() > 1
    labels = [
        _label(row, axis) + (f", {words.word(row['variant'])}" if variants else "") for _, row in curve.iterrows()
    ]
    ax.set_yticks(range(len(curve)), labels, fontsize=6.5)
    ax.set_ylim(-0.8, len(curve) - 0.2)
    if log:
        log_x_axis(ax, *window)
    else:
        ax.set_xlim(*window)
    ax.grid(False, axis="y")


def _label(row: pd.Series, axis: str) -> str:
    """A choice in words: a column by its name, a value that is left out with the name of its axis."""
    label = str(row["label"])
    if left_out := re.fullmatch(r"without (-?\d[\d.e+-]*)", label):
        return f"without {axis} {words.tick_text(float(left_out[1]))}"
    return words.in_powers(words.name_of(label))


def _claims(ax: Axes, data: PlotData, spec: FigureConfig, options: SpecificationCurveOptions) -> list[str]:
    """Shade what the study's claims assert of this number, with a line at a predicted value, and say it in words."""
    told = []
    for claim in data.study.claims:
        if (claim.fit, claim.where) == (spec.fit, options.where) and claim.parameter in (None, options.parameter):
            low, high = words.claimed_region(claim.predicted, claim.margin, claim.test)
            left, right = ax.get_xlim()
            told.append(f"predicted {words.claim_text(claim.predicted, claim.margin, claim.test)}")
            if low < right and high > left:
                ends = max(low, left), min(high, right)
                ax.axvspan(*ends, color=style.CATEGORIES[0], alpha=0.08, lw=0, zorder=0, gid="claimed")
            if claim.test not in power_law.BOUNDS and left < claim.predicted < right:
                look = power_law.LINES["prediction"]
                ax.axvline(claim.predicted, color=style.INK, zorder=1, gid="prediction", **look)
    return list(dict.fromkeys(told))


def _keys(found: dict[str, Any]) -> list[Any]:
    entries = {
        "declared": layout.line_key("as declared, 95 % interval", style.CATEGORIES[1], marker="o", ms=4),
        "other": layout.line_key("another choice", marker="o", ms=4),
        "claimed": layout.band_key("what claims allow", style.CATEGORIES[0], 0.12),
        "prediction": layout.line_key("predicted value", style.INK, **power_law.LINES["prediction"]),
    }
    return [entry for name, entry in entries.items() if name in found]
