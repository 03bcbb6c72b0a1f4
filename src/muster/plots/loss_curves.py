"""Loss against training step, one line per width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from muster.config.models import FigureConfig, Name
from muster.plots import frames, style
from muster.plots.base import Options, PlotData, plot
from muster.plots.seed_lines import draw_seed_lines

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CurveOptions(Options):
    """Options of `loss_curves`."""

    losses: list[Name] = Field(["train_loss", "eval_loss"], min_length=1, description="Rows of panels")
    along: str | None = Field(None, description="Axis shown as hue; the fit's axis if absent")
    log2_lr: float | None = Field(None, description="One rate for all; each shape's best rate if absent")
    step_axis: Literal["linear", "log"] = Field("linear", description="Scale of the x-axis")
    loss_axis: Literal["auto", "linear", "log"] = Field("auto", description="auto: log if the losses span 8-fold")


@plot("loss_curves", CurveOptions)
def loss_curves(data: PlotData, spec: FigureConfig, options: CurveOptions) -> Figure:
    """Training and held-out loss against step at each width's best learning rate: mean and range of seeds.

    One column per group of the fit, one row per loss. A loss that was never evaluated gets no row.
    """
    fit = frames.fit_of(data, spec)
    along = options.along or (fit.along if fit else "width")
    runs, rows = frames.fitted_rows(data, spec, "runs"), frames.fitted_rows(data, spec, "curves")
    losses = [loss for loss in options.losses if loss in rows.columns and rows[loss].notna().any()]
    found = frames.groups(rows, frames.grouping(fit, rows)) if len(rows) else []
    if not losses or not found:
        return style.nothing(data, options.title, "no loss was recorded along training")

    response = fit.response if fit and fit.response in runs.columns else "final_train_loss"
    values = sorted(rows[along].unique().tolist())
    hues = style.ordered(values)
    fig, axes = style.panels(len(losses) * len(found), len(found), size=(2.6, 2.0), sharey="row")
    for column, group in enumerate(found):
        own, told = at_best(frames.members(rows, group), frames.members(runs, group), along, response, options.log2_lr)
        for row, loss in enumerate(losses):
            _panel(axes[row * len(found) + column], own, loss, along, hues)
        style.panel_title(axes[column], style.phrase(group), told)
    for row, loss in enumerate(losses):
        strip = axes[row * len(found) : (row + 1) * len(found)]
        _loss_axis(strip, rows, loss, options)
        strip[0].set_ylabel(style.stacked(style.label(loss, data), 30))
    for ax in axes[-len(found) :]:
        ax.set_xlabel(style.label("step"))
    keys = [style.line_key(style.label(along), "none")]
    keys += [style.line_key(f"{value:g}", color) for value, color in hues.items()]
    seeds = rows["seed"].nunique()
    keys.append(style.line_key(f"mean of {seeds} seeds" if seeds > 1 else "one seed"))
    if seeds > 1:
        keys.append(style.band_key("range of seeds"))
    style.legend(fig, keys)
    style.heading(fig, data, options.title)
    return fig


def best_rates(runs: pd.DataFrame, along: str, response: str) -> dict[Any, float]:
    """log2 of the rate with the lowest mean response per shape, among rates at which no seed diverged."""
    if runs.empty:
        return {}
    means = runs.groupby([along, "log2_lr"]).agg(loss=(response, "mean"), diverged=("diverged", "any"))
    means = means[~means["diverged"] & means["loss"].notna()].reset_index()
    if means.empty:
        return {}
    best = means.loc[means.groupby(along)["loss"].idxmin()]
    return {frames.plain(value): float(rate) for value, rate in zip(best[along], best["log2_lr"], strict=True)}


def at_best(
    rows: pd.DataFrame, runs: pd.DataFrame, along: str, response: str, log2_lr: float | None
) -> tuple[pd.DataFrame, str]:
    """Rows at each shape's best rate (or all at the grid's rate nearest to `log2_lr`), and which rates these are."""
    if "log2_lr" not in rows.columns or rows.empty:
        return rows, ""
    if log2_lr is not None:
        rate = min(rows["log2_lr"].unique().tolist(), key=lambda each: abs(each - log2_lr))
        return rows[rows["log2_lr"] == rate], f"learning rate {style.power_of_two(rate)}"
    best = best_rates(runs, along, response)
    if not best:
        return rows.iloc[:0], "no rate without divergence"
    spread = sorted(set(best.values()))
    ends = " to ".join(style.power_of_two(rate) for rate in dict.fromkeys([spread[0], spread[-1]]))
    return rows[rows["log2_lr"] == rows[along].map(best)], f"best learning rates {ends}"


def _panel(ax: Axes, own: pd.DataFrame, loss: str, along: str, hues: dict[Any, Any]) -> None:
    if own.empty or not own[loss].notna().any():
        style.say(ax, "no finite loss")
        return
    draw_seed_lines(ax, own, "step", loss, along, hues, linewidth=1.2)


def _loss_axis(strip: list[Axes], rows: pd.DataFrame, loss: str, options: CurveOptions) -> None:
    drawn = [ax for ax in strip if ax.lines]
    low = min((ax.dataLim.y0 for ax in drawn), default=0.0)
    high = max((ax.dataLim.y1 for ax in drawn), default=1.0)
    log = options.loss_axis == "log" or (options.loss_axis == "auto" and low > 0 and high / low > 8)
    if log and low > 0:
        style.fit_log_axis(strip)
    if options.step_axis == "log" and drawn:
        first = rows.loc[rows["step"] > 0, "step"].min()
        for ax in strip:
            ax.set_xscale("log")
            ax.set_xlim(left=first)
