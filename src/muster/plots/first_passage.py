"""Time to reach a level against an axis: every run, the regression line, runs that never got there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.config.models import FigureConfig, FitConfig
from muster.errors import MusterError
from muster.plots import layout, power_law, style, words
from muster.plots.axes import fit_log_axis, shape_axis
from muster.plots.base import Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import (
    Group,
    fit_of,
    fitted_rows,
    groups_to_draw,
    predicted_slopes,
    primary_estimate,
    rows_of_group,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PassageOptions(Options):
    """Options of `first_passage`."""

    total: float = Field(1.0, gt=0, description="The x-axis shows the axis over this number: a share")
    x_label: str | None = Field(None, description="Label of the x-axis with its unit; the axis's own if absent")
    label: str = Field("steps to the level (updates)", description="Label of the y-axis with its unit")
    columns: int | None = Field(None, ge=1, description="Panels per row")


def _shows(data: PlotData, spec: FigureConfig, options: PassageOptions) -> str:
    fit = fit_of(data, spec)
    across = options.x_label or (words.label(fit.along) if fit is not None else "an axis")
    return f"{words.without_unit(options.label)} against {words.without_unit(across)}"


@plot("first_passage", PassageOptions, _shows)
def first_passage(data: PlotData, spec: FigureConfig, options: PassageOptions) -> Figure:
    """Time of every run to reach the fit's level, with medians, the censored regression line and its 95 % band.

    One panel per group of the fit, above it the change of ln t over the fit's unit. A run that never gets there is a
    triangle at its last step: its time lies above.
    """
    fit = fit_of(data, spec)
    if fit is None or "level" not in fit.options:
        raise MusterError("fit", "no first-passage fit", "Name a fit of the study whose estimator is `first_passage`")
    rows = fitted_rows(data, spec, fit.table)
    found = groups_to_draw(data, spec, rows)
    if rows.empty or not found:
        return layout.empty_figure("no run is selected")
    fig, axes = layout.panels(len(found), options.columns or layout.columns_for(found))
    for ax, group in zip(axes, found, strict=True):
        told = _panel(ax, data, spec, group, rows_of_group(rows, group), options)
        layout.panel_title(ax, words.phrase(group), told)
    fit_log_axis(axes)
    if fit.options.get("scale") == "log":
        for ax in axes:
            shape_axis(ax, sorted(rows[fit.along].unique().tolist()))
    layout.outer_labels(axes, options.x_label or words.label(fit.along), options.label)
    layout.legend(fig, _keys(axes))
    return fig


def _panel(
    ax: Axes, data: PlotData, spec: FigureConfig, group: Group, own: pd.DataFrame, options: PassageOptions
) -> str:
    """Draw one group and return its slope in words."""
    import numpy as np

    from muster.fitting.estimators.first_passage import passages

    fit = data.study.fits[str(spec.fit)]
    runs = passages(own, fit.along, fit.response, fit.options["level"])
    x, low = runs[fit.along].to_numpy(float), runs["low"].to_numpy(float)
    known = np.isfinite(runs["high"].to_numpy(float))
    color = style.CATEGORIES[0]
    shown = x / options.total
    look: dict[str, Any] = {"color": color, "ls": "none", "alpha": 0.45, "mew": 0}
    if known.any():
        ax.plot(shown[known], np.exp(low[known]), "o", ms=3.2, gid="seeds", **look)
    if (~known).any():
        ax.plot(shown[~known], np.exp(low[~known]), "^", ms=4.5, gid="censored", **look)
    medians = runs["high"].groupby(shown).median()
    medians = medians[np.isfinite(medians)]
    if len(medians):
        ax.plot(medians.index, np.exp(medians), "o", color=color, ms=5, ls="none", zorder=3.5, gid="means")
    fitted = primary_estimate(data, spec, group)
    _line(ax, fit, fitted, runs, options.total, color)
    # A claim on the form of the curve predicts no slope.
    forms = {(claim.predicted, claim.margin, claim.test) for claim in data.study.claims if claim.parameter == "aicc"}
    told = [each for each in predicted_slopes(data, spec, group) if tuple(each) not in forms]
    for each in told:
        if each.test in ("equivalence", "interval"):
            _prediction(ax, fit, each.slope, runs, options.total)
    return power_law.slope_note(fitted, told)


def _prediction(ax: Axes, fit: FitConfig, slope: float, runs: pd.DataFrame, total: float) -> None:
    """A dashed line of the predicted slope through the middle of the known times: a claim says nothing of the level."""
    import numpy as np

    known = runs[np.isfinite(runs["high"])]
    if known.empty:
        return
    ends = np.linspace(runs[fit.along].min(), runs[fit.along].max(), 41)
    log = fit.options.get("scale") == "log"
    at, middle = (np.log(x) if log else x / fit.options.get("unit", 1.0) for x in (ends, known[fit.along].to_numpy()))
    level = known["low"].mean() + slope * (at - middle.mean())
    ax.plot(ends / total, np.exp(level), color=style.INK, ls=(0, (4, 2.5)), lw=1.1, zorder=2.2, gid="prediction")


def _line(ax: Axes, fit: FitConfig, fitted: Any, runs: pd.DataFrame, total: float, color: Any) -> None:
    """The line of the primary row with its pointwise 95 % band, by `power_law.band` in units where ln x is the axis."""
    import numpy as np

    if fitted is None or not np.isfinite(float(fitted["estimate"])):
        return
    log = fit.options.get("scale") == "log"
    unit = float(fit.options.get("unit", 1.0))
    known = runs[np.isfinite(runs["high"])]
    x = known[fit.along].to_numpy(float)
    # The band of a straight line in ln x: a linear axis stands in for ln x after shifting its exponential to order one.
    centre = 0.0 if log else x.mean()
    at = np.log(x) if log else (x - centre) / unit
    shifted = {**fitted, "intercept": float(fitted["intercept"]) + float(fitted["estimate"]) * centre / unit}
    line = power_law.band(np.exp(at), np.exp(known["low"].to_numpy(float)), shifted if not log else fitted)
    if line is None:
        return
    where = (line.x if log else centre + unit * np.log(line.x)) / total
    ax.plot(where, line.y, color=color, lw=1.4, zorder=2.5, gid="fit")
    if np.isfinite(line.low).all():
        ax.fill_between(where, line.low, line.high, color=color, alpha=0.15, lw=0, zorder=1.5, gid="band")


def _keys(axes: list[Axes]) -> list[Any]:
    found, color = layout.drawn_by_name(axes), style.CATEGORIES[0]
    entries = {
        "seeds": layout.line_key("one run", color, marker="o", ms=3.2, lw=0, alpha=0.45),
        "censored": layout.line_key("not yet at its last step", color, marker="^", ms=4.5, lw=0, alpha=0.45),
        "means": layout.line_key("median", color, marker="o", ms=5, lw=0),
        "fit": layout.line_key("censored regression", color),
        "band": layout.band_key("its 95 % band", color),
        "prediction": layout.line_key("predicted slope", style.INK, ls=(0, (4, 2.5)), lw=1.1),
    }
    return [entry for name, entry in entries.items() if name in found]
