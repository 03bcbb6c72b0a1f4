"""Coordinate check: does the size of activations, and of their change, depend on width?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from muster.config.models import FigureConfig, Name
from muster.plots import layout, power_law, style, words
from muster.plots.axes import fit_log_axis, shape_axis
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import Group, base_optimum, fit_of, fitted_rows, grouping, groups_in, rows_of_group
from muster.plots.seed_lines import draw_seed_lines, geometric_mean

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CheckOptions(Options):
    """Options of `coordinate_check`."""

    probes: list[Name] = Field(["activation_rms", "activation_change_rms"], min_length=1, description="Rows of panels")
    along: Annotated[str, Names("probes")] = Field("width", description="The x-axis")
    by: Annotated[list[str] | None, Names("probes")] = Field(
        None, description="Columns that separate groups; the fit's, else those that vary"
    )
    layers: list[int] | None = Field(None, description="Columns of panels; every layer if absent")
    steps: list[int] | None = Field(None, description="Lines; at most five, spread over those recorded, if absent")
    log2_lr: float | None = Field(None, description="Rate shown; the optimum of the narrowest net, else the middle one")


def _shows(data: PlotData, spec: FigureConfig, options: CheckOptions) -> str:
    return (
        f"Coordinate check: {' and '.join(map(words.name_of, options.probes))} against {words.name_of(options.along)}"
    )


@plot("coordinate_check", CheckOptions, _shows)
def coordinate_check(data: PlotData, spec: FigureConfig, options: CheckOptions) -> Figure:
    """Coordinate check: RMS of activations and of their change against width, per layer and step, on log axes.

    One row per group and probe, one column per layer, one line per step: the geometric mean of seeds with their range.
    Under each panel's title stands the least-squares slope of the last step with its 95 % interval.
    """
    rows = fitted_rows(data, spec, "probes")
    if len(rows):
        rows = rows[rows["probe"].isin(options.probes) & rows["value"].gt(0)]
    if rows.empty:
        return layout.empty_figure(f"no probe {' or '.join(options.probes)} was recorded")
    by = options.by if options.by is not None else grouping(fit_of(data, spec), rows)
    by = [column for column in by if column in rows.columns and column not in ("layer", "step", "probe")]
    found = groups_in(rows, by)
    layers = options.layers or sorted(rows["layer"].unique().tolist())
    steps = options.steps or spread(sorted(rows["step"].unique().tolist()), 5)
    hues, values = style.ordered(steps), sorted(rows[options.along].unique().tolist())

    strips = [(group, probe) for group in found for probe in options.probes]
    fig, axes = layout.panels(len(strips) * len(layers), len(layers), size=(1.75, 1.75), sharey="row")
    for row, (group, probe) in enumerate(strips):
        own = rows_of_group(rows[rows["probe"] == probe], group)
        own, rate = at_rate(own, data, group, options.log2_lr)
        own = own[own["step"].isin(steps) & own["layer"].isin(layers)]
        strip = axes[row * len(layers) : (row + 1) * len(layers)]
        for ax, layer in zip(strip, layers, strict=True):
            _panel(ax, own[own["layer"] == layer], options.along, hues, _layer_name(layer, own))
            shape_axis(ax, values, most=4)
        fit_log_axis(strip)
        about = " · ".join(part for part in (words.phrase(group), f"η = {rate}" if rate else "") if part)
        strip[0].set_ylabel("\n".join(filter(None, [about, words.stacked_label(words.label(probe), 26)])))
    for ax in axes[-len(layers) :]:
        ax.set_xlabel(words.label(options.along))
    keys = [layout.line_key(words.label("step"), "none")]
    keys += [layout.line_key(f"{step:g}", color, marker="o", ms=3) for step, color in hues.items()]
    if rows["seed"].nunique() > 1:
        keys.append(layout.band_key("range of seeds"))
    if len(values) > 2:
        keys.append(layout.line_key("slope: at the last step", "none"))
    layout.legend(fig, keys)
    return fig


def spread(values: list[int], most: int) -> list[int]:
    """At most `most` of the sorted values, the first and the last among them, evenly spread in rank."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def at_rate(rows: pd.DataFrame, data: PlotData, group: Group, log2_lr: float | None) -> tuple[pd.DataFrame, str]:
    """Rows at the one learning rate that a coordinate check holds fixed, and that rate as text.

    The grid's rate nearest to `log2_lr`; if that is not given, to the optimum of the narrowest net; failing that, the
    middle one.
    """
    if "log2_lr" not in rows.columns or rows.empty:
        return rows, ""
    grid = sorted(rows["log2_lr"].unique().tolist())
    wanted = log2_lr if log2_lr is not None else base_optimum(data.optima, group)
    chosen = grid[len(grid) // 2] if wanted is None else min(grid, key=lambda rate: abs(rate - wanted))
    return rows[rows["log2_lr"] == chosen], words.power_of_two(chosen)


def _panel(ax: Axes, own: pd.DataFrame, along: str, hues: dict[int, Any], title: str) -> None:
    if own.empty:
        layout.explain_empty(ax, "no value above 0")
        layout.panel_title(ax, title)
        return
    draw_seed_lines(ax, own, along, "value", "step", hues, geometric_mean, marker="o", markersize=3, markeredgewidth=0)
    last = own[own["step"] == own["step"].max()].groupby(along)["value"].agg(geometric_mean)
    fitted = power_law.least_squares(last.index.to_numpy(float), last.to_numpy(float))
    layout.panel_title(ax, title, power_law.slope_note(fitted, []) if fitted else "")


def _layer_name(layer: int, rows: pd.DataFrame) -> str:
    depth = rows["depth"].max() if "depth" in rows.columns and len(rows) else None
    return f"layer {layer}" + (" (output)" if layer == (depth or -2) + 1 else "")
