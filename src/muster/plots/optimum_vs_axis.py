"""Optimal learning rate against width (or another axis), with the fitted transfer exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from muster.config.models import FigureConfig, FitConfig, Name
from muster.errors import MusterError
from muster.fitting.compared import compared, group_columns
from muster.plots import layout, power_law, style, words
from muster.plots.axes import draw_interval, octaves, shape_axis
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import (
    Group,
    estimates_of_group,
    fit_of,
    fitted_rows,
    groups_to_draw,
    predicted_slopes,
    primary_estimate,
    without_hue,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class OptimumOptions(Options):
    """Options of `optimum_vs_axis`."""

    hue: Annotated[Name | None, Names("groups")] = Field(
        None, description="`by` column that shares a panel, told apart by colour and marker"
    )
    columns: int | None = Field(None, ge=1, description="Panels per row")
    rate: str = Field(words.label("log2_lr"), description="What is swept, with its unit")
    label: str | None = Field(None, description="Label of the y-axis where thresholds are drawn in place of optima")


def _shows(data: PlotData, spec: FigureConfig, options: OptimumOptions) -> str:
    fit = fit_of(data, spec)
    across = words.name_of(fit.along) if fit is not None else "width"
    return f"{words.without_unit(_y_label(options))} against {across}"


@plot("optimum_vs_axis", OptimumOptions, _shows)
def optimum_vs_axis(data: PlotData, spec: FigureConfig, options: OptimumOptions) -> Figure:
    """Optimal learning rate against width on log axes: intervals, fitted slope with 95 % band, predicted slope.

    One panel per group of the fit, or one per group without the `hue` column; of a fit that compares two groups, both
    are shown, and the difference of their slopes is written on the panel. Where no interior optimum was found the
    best rate of the grid is an open marker, a triangle that points beyond the grid if that is where the optimum may
    lie; these do not enter the fit.
    """
    fit = fit_of(data, spec)
    if fit is None:
        raise MusterError("fit", "missing", "optimum_vs_axis draws a fit: name one of the study's fits")
    if options.hue is not None and options.hue not in group_columns(fit):
        known = ", ".join(group_columns(fit)) or "none"
        raise MusterError("options.hue", f"{options.hue!r} tells no groups of the fit apart", f"Known: {known}")
    optima = data.optima[data.optima["fit"] == spec.fit] if len(data.optima) else data.optima
    found = groups_to_draw(data, spec, fitted_rows(data, spec, "runs")) if len(optima) else []
    if not found:
        return layout.empty_figure("no optimum was estimated")

    facets = without_hue(found, options.hue)
    values = list(dict.fromkeys(group.get(options.hue or "") for group in found))
    looks = style.categories(values)
    sizes = {value: style.nested(index, len(values)) for index, value in enumerate(values)}
    fig, axes = layout.panels(len(facets), options.columns or layout.columns_for(facets))
    notes: list[str] = []
    for ax, facet in zip(axes, facets, strict=True):
        inside = [group for group in found if facet.items() <= group.items()]
        told = [
            _group(ax, data, spec, group, looks[value], sizes[value], options.hue)
            for group in inside
            for value in [group.get(options.hue or "")]
        ]
        notes.append("\n".join(told) if not compared(fit) else _difference(data, spec, fit, facet))
    for ax in axes:
        shape_axis(ax, sorted(optima["x"].unique().tolist()))
        octaves(ax, "y", *ax.get_ylim())
        if not ax.lines:
            layout.explain_empty(ax, "no optimum was estimated")
    for ax, facet, note in zip(axes, facets, notes, strict=True):
        layout.panel_title(ax, words.phrase(facet), note)
    layout.outer_labels(axes, words.label(fit.along), _y_label(options))
    layout.legend(fig, _keys(axes, options.hue, looks, "threshold" if options.label else "optimum"))
    return fig


def _difference(data: PlotData, spec: FigureConfig, fit: FitConfig, facet: Group) -> str:
    """What a comparison found, in words: the groups that it compares have no slopes of their own."""
    whole = {column: facet[column] for column in fit.by if column in facet}
    note = power_law.slope_note(primary_estimate(data, spec, whole), predicted_slopes(data, spec, whole))
    first, second = map(words.phrase, compared(fit).values())
    return f"{first} \N{MINUS SIGN} {second}: {note}"


def _y_label(options: OptimumOptions) -> str:
    return options.label or f"optimal {options.rate}"


def _group(
    ax: Axes, data: PlotData, spec: FigureConfig, group: Group, look: tuple[str, str], size: float, hue: str | None
) -> str:
    """Draw one group and return its slope in words."""
    import numpy as np

    color, marker = look
    optima = estimates_of_group(data.optima, spec.fit, group).sort_values("x")
    known = optima["log2_lr_opt"].notna() & (optima["status"] == "interior")
    inside, censored = optima[known], optima[~known & optima["grid_best"].notna()]
    told, fitted = predicted_slopes(data, spec, group), primary_estimate(data, spec, group)
    x, y = inside["x"].to_numpy(float), inside["log2_lr_opt"].to_numpy(float)
    power_law.draw_fit(ax, x, 2.0**y, fitted, color, show=np.log2)
    power_law.draw_predictions(ax, x, 2.0**y, told, color if hue else style.INK, show=np.log2)
    if len(inside):
        low, high = _window(data.runs, y)
        for at, value, ends in zip(x, y, inside[["ci_low", "ci_high"]].to_numpy(float).tolist(), strict=True):
            draw_interval(ax, at, value, ends, (low, high), "y", color, width=1.5 * size)
        ax.plot(x, y, marker, color=color, ms=5 * size, zorder=3.5, gid="optimum")
    for _, row in censored.iterrows():
        at, best = row["x"], row["grid_best"]
        if np.isfinite([row["ci_low"], row["ci_high"]]).all():
            ax.plot([at, at], [row["ci_low"], row["ci_high"]], color=color, lw=1.0, ls=":", gid="bracket")
        ax.plot(
            at,
            best,
            power_law.beyond(row["ci_low"], row["ci_high"]),
            mfc="white",
            mec=color,
            ms=6.5 * size,
            mew=1.3,
            zorder=4,
            gid="censored",
        )
    if optima.empty:
        note = "not run"
    elif inside.empty:
        note = "no interior optimum"
    else:
        note = power_law.slope_note(fitted, told)
    return f"{words.phrase({hue: group[hue]})}: {note.removeprefix('slope ')}" if hue else note


def _window(runs: pd.DataFrame, optima: np.ndarray) -> tuple[float, float]:
    """The range in which intervals are drawn: half an octave beyond the rates that were run."""
    rates = runs["log2_lr"] if "log2_lr" in runs.columns else optima
    return min(rates.min(), optima.min()) - 0.5, max(rates.max(), optima.max()) + 0.5


def _keys(axes: list[Axes], hue: str | None, looks: dict[Any, tuple[str, str]], what: str) -> list[Any]:
    found = layout.drawn_by_name(axes)
    color = style.MUTED if hue else style.CATEGORIES[0]
    dashes = style.MUTED if hue else style.INK
    keys = power_law.hue_keys(hue, looks) + power_law.keys(found, f"{what}, 95 % interval", "optimum", color, dashes)
    if "censored" in found:
        keys.append(power_law.beyond_key(found["censored"].get_marker(), color))
    return keys
