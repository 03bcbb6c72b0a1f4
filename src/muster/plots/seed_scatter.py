"""Final loss of every seed at the best learning rate, per width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from muster.config.models import FigureConfig
from muster.plots import layout, style, words
from muster.plots.axes import category_axis
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.loss_curves import at_best
from muster.plots.rows import fit_of, fitted_rows, groups_to_draw, rows_of_group

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ScatterOptions(Options):
    """Options of `seed_scatter`."""

    response: Annotated[str | None, Names("runs")] = Field(
        None, description="Column of the loss; the fit's response if absent"
    )
    along: Annotated[str | None, Names("runs")] = Field(None, description="The x-axis; the fit's axis if absent")
    log2_lr: float | None = Field(None, description="One rate for all; each shape's best rate if absent")
    columns: int | None = Field(None, ge=1, description="Panels per row")


def _shows(data: PlotData, spec: FigureConfig, options: ScatterOptions) -> str:
    fit = fit_of(data, spec)
    response = options.response or (fit.response if fit else "final_train_loss")
    along = options.along or (fit.along if fit else "width")
    return f"{words.name_of(response)} of every seed, by {words.name_of(along)}"


@plot("seed_scatter", ScatterOptions, _shows, sweeps=True)
def seed_scatter(data: PlotData, spec: FigureConfig, options: ScatterOptions) -> Figure:
    """Final loss of every seed at each width's best learning rate, with mean ± standard deviation.

    One panel per group of the fit. The relative standard deviation stands above each width: it sets how many seeds a
    comparison needs. The best rate is chosen on the same seeds, so the means are slightly optimistic.
    """
    fit = fit_of(data, spec)
    response = options.response or (fit.response if fit else "final_train_loss")
    along = options.along or (fit.along if fit else "width")
    rows = fitted_rows(data, spec, "runs")
    found = groups_to_draw(data, spec, rows)
    if rows.empty or not found:
        return layout.empty_figure("no run is selected")
    values = sorted(rows[along].unique().tolist())
    hues = style.ordered(values)
    fig, axes = layout.panels(len(found), options.columns or layout.columns_for(found))
    for ax, group in zip(axes, found, strict=True):
        own = rows_of_group(rows, group)
        own, told = at_best(own, own, along, response, options.log2_lr)
        layout.panel_title(ax, words.phrase(group), told)
        _panel(ax, own[own[response].notna()], along, response, hues)
        category_axis(ax, values)
    layout.outer_labels(axes, words.label(along), data.label(response))
    many = rows["seed"].nunique() > 1
    keys = [layout.line_key("one seed" if many else "one seed, no interval", marker="o", ms=4, mec="white", lw=0)]
    if many:
        keys.append(layout.line_key("mean ± sd over seeds", style.INK, marker="_", ms=8, mew=1.6, lw=0))
        keys.append(layout.line_key("above: sd ∕ mean", "none"))
    layout.legend(fig, keys)
    return fig


def _panel(ax: Axes, own: pd.DataFrame, along: str, response: str, hues: dict[Any, Any]) -> None:
    import numpy as np

    if own.empty:
        layout.explain_empty(ax, "no finite loss")
        return
    for place, (value, color) in enumerate(hues.items()):
        losses = own.loc[own[along] == value].sort_values("seed")[response].to_numpy(float)
        if not len(losses):
            continue
        aside = np.linspace(-0.26, 0.06, len(losses)) if len(losses) > 1 else np.zeros(1)
        ax.plot(place + aside, losses, "o", color=color, ms=4, mec="white", mew=0.4, alpha=0.9, gid="seeds")
        if len(losses) == 1:
            continue
        mean, sd = losses.mean(), losses.std(ddof=1)
        look: dict[str, Any] = {
            "color": style.INK,
            "ecolor": style.INK,
            "elinewidth": 1.0,
            "ms": 7,
            "mew": 1.5,
            "capsize": 2,
        }
        ax.errorbar(place + 0.26, mean, sd or None, fmt="_", gid="mean", **look)
        if sd:
            told = f"{100 * sd / abs(mean):.2g} %"
            top = max(mean + sd, losses.max())
            ax.annotate(
                told, (place, top), (0, 4), textcoords="offset points", ha="center", fontsize=6.5, color=style.MUTED
            )
    ax.margins(y=0.14)
