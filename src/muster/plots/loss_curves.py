"""Loss against training step, one line per width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from muster.config.models import FigureConfig, Name
from muster.plots import layout, style, words
from muster.plots.axes import fit_log_axis, log_x_axis
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import fit_of, fitted_rows, grouping, groups_in, python_scalar, rows_of_group
from muster.plots.seed_lines import draw_seed_lines

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class CurveOptions(Options):
    """Options of `loss_curves`."""

    losses: Annotated[list[Name], Names("curves")] = Field(
        ["train_loss", "eval_loss"], min_length=1, description="Rows of panels"
    )
    along: Annotated[str | None, Names("curves")] = Field(
        None, description="Axis shown as hue; the fit's axis if absent"
    )
    log2_lr: float | None = Field(None, description="One rate for all; each shape's best rate if absent")
    step_axis: Literal["linear", "log"] = Field("linear", description="Scale of the x-axis")
    loss_axis: Literal["auto", "linear", "log"] = Field("auto", description="auto: log if the losses span 8-fold")


def _shows(data: PlotData, spec: FigureConfig, options: CurveOptions) -> str:
    fit = fit_of(data, spec)
    along = options.along or (fit.along if fit else "width")
    losses = " and ".join(map(words.name_of, options.losses))
    return f"{losses} against step, by {words.name_of(along)}"


@plot("loss_curves", CurveOptions, _shows, sweeps=True)
def loss_curves(data: PlotData, spec: FigureConfig, options: CurveOptions) -> Figure:
    """Training and held-out loss against step at each width's best learning rate: mean and range of seeds.

    One column per group of the fit, one row per loss. A loss that was never evaluated gets no row.
    """
    fit = fit_of(data, spec)
    along = options.along or (fit.along if fit else "width")
    runs, rows = fitted_rows(data, spec, "runs"), fitted_rows(data, spec, "curves")
    losses = [loss for loss in options.losses if loss in rows.columns and rows[loss].notna().any()]
    found = groups_in(rows, grouping(fit, rows)) if len(rows) else []
    if not losses or not found:
        return layout.empty_figure("no loss was recorded along training")

    response = fit.response if fit and fit.response in runs.columns else "final_train_loss"
    values = sorted(rows[along].unique().tolist())
    hues = style.ordered(values)
    fig, axes = layout.panels(len(losses) * len(found), len(found), size=(2.6, 2.0), sharey="row")
    for column, group in enumerate(found):
        own, told = at_best(rows_of_group(rows, group), rows_of_group(runs, group), along, response, options.log2_lr)
        for row, loss in enumerate(losses):
            _panel(axes[row * len(found) + column], own, loss, along, hues)
        layout.panel_title(axes[column], words.phrase(group), told)
    for row, loss in enumerate(losses):
        strip = axes[row * len(found) : (row + 1) * len(found)]
        _loss_axis(strip, rows, loss, options)
        strip[0].set_ylabel(words.stacked_label(data.label(loss), 30))
    for ax in axes[-len(found) :]:
        ax.set_xlabel(words.label("step"))
    keys = [layout.line_key(words.label(along), "none")]
    keys += [layout.line_key(f"{value:g}", color) for value, color in hues.items()]
    seeds = rows["seed"].nunique()
    keys.append(layout.line_key(f"mean of {seeds} seeds" if seeds > 1 else "one seed"))
    if seeds > 1:
        keys.append(layout.band_key("range of seeds"))
    layout.legend(fig, keys)
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
    return {python_scalar(value): float(rate) for value, rate in zip(best[along], best["log2_lr"], strict=True)}


def at_best(
    rows: pd.DataFrame, runs: pd.DataFrame, along: str, response: str, log2_lr: float | None
) -> tuple[pd.DataFrame, str]:
    """Rows at each shape's best rate (or all at the grid's rate nearest to `log2_lr`), and which rates these are."""
    if "log2_lr" not in rows.columns or rows.empty:
        return rows, ""
    if log2_lr is not None:
        rate = min(rows["log2_lr"].unique().tolist(), key=lambda each: abs(each - log2_lr))
        return rows[rows["log2_lr"] == rate], f"learning rate {words.power_of_two(rate)}"
    best = best_rates(runs, along, response)
    if not best:
        return rows.iloc[:0], "no rate without divergence"
    spread = sorted(set(best.values()))
    ends = " to ".join(words.power_of_two(rate) for rate in dict.fromkeys([spread[0], spread[-1]]))
    return rows[rows["log2_lr"] == rows[along].map(best)], f"best learning rates {ends}"


def _panel(ax: Axes, own: pd.DataFrame, loss: str, along: str, hues: dict[Any, Any]) -> None:
    if own.empty or not own[loss].notna().any():
        layout.explain_empty(ax, "no finite loss")
        return
    draw_seed_lines(ax, own, "step", loss, along, hues, linewidth=1.2)


def _loss_axis(strip: list[Axes], rows: pd.DataFrame, loss: str, options: CurveOptions) -> None:
    drawn = [ax for ax in strip if ax.lines]
    low = min((ax.dataLim.y0 for ax in drawn), default=0.0)
    high = max((ax.dataLim.y1 for ax in drawn), default=1.0)
    log = options.loss_axis == "log" or (options.loss_axis == "auto" and low > 0 and high / low > 8)
    if log and low > 0:
        fit_log_axis(strip)
    if options.step_axis == "log" and drawn:
        first = rows.loc[rows["step"] > 0, "step"].min()
        for ax in strip:
            log_x_axis(ax, float(first), float(rows["step"].max()))
