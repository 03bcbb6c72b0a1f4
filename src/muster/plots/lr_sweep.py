"""Loss against learning rate, one line per width or depth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from muster.config.models import FigureConfig
from muster.plots import layout, power_law, style, words
from muster.plots.axes import draw_interval, log_axis, log_ticks, octaves
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import estimates_of_group, fit_of, fitted_rows, groups_to_draw, rows_of_group, without_hue
from muster.plots.seed_lines import draw_seed_lines, geometric_mean

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CROSS: dict[str, Any] = {"marker": "x", "mew": 1.3}
RING: dict[str, Any] = {"marker": "o", "mfc": "none", "mew": 0.9}

STRIP = 0.3  # largest share of a panel that the strip of diverged rates takes


class LossScale(NamedTuple):
    """Ends of the range of losses that is shown, and whether its axis is logarithmic."""

    low: float
    high: float
    log: bool


class SweepOptions(Options):
    """Options of `lr_sweep`."""

    response: Annotated[str | None, Names("runs")] = Field(
        None, description="Column of the loss; the fit's response if absent"
    )
    along: Annotated[str | None, Names("runs")] = Field(None, description="Axis shown as hue; the fit's axis if absent")
    hue_label: str | None = Field(None, description="Name of the hue with its unit; the axis's own if absent")
    loss_axis: Literal["auto", "linear", "log"] = Field("auto", description="auto: log if the basins span 4-fold")
    ceiling: float | None = Field(None, gt=0, description="Largest loss shown; chosen from the data if absent")
    rate: str = Field(words.label("log2_lr"), description="What is swept, with its unit")
    columns: int | None = Field(None, ge=1, description="Panels per row")


def _response(data: PlotData, spec: FigureConfig, options: SweepOptions) -> str:
    fit = fit_of(data, spec)
    return options.response or (fit.response if fit else "final_train_loss")


def _along(data: PlotData, spec: FigureConfig, options: SweepOptions) -> str:
    fit = fit_of(data, spec)
    return options.along or (fit.along if fit else "width")


def _shows(data: PlotData, spec: FigureConfig, options: SweepOptions) -> str:
    across, hue = words.without_unit(options.rate), words.name_of(_along(data, spec, options))
    return f"{words.name_of(_response(data, spec, options))} against {across}, by {hue}"


@plot("lr_sweep", SweepOptions, _shows, sweeps=True)
def lr_sweep(data: PlotData, spec: FigureConfig, options: SweepOptions) -> Figure:
    """Loss against learning rate per width: mean and range of seeds, diverged rates, estimated optima with intervals.

    One panel per group of the fit, groups of the hue in one. Lines are geometric means, as the optimum is estimated on
    the log of the loss, over the seeds that did not diverge; a cross in the strip at the top marks a rate where all
    seeds diverged, a ring one where some did.
    """
    response, along = _response(data, spec, options), _along(data, spec, options)
    rows = fitted_rows(data, spec, "runs")
    found = without_hue(groups_to_draw(data, spec, rows), along)
    if rows.empty or not found:
        return layout.empty_figure("no run is selected")
    rows = rows.assign(**{response: rows[response].where(rows[response] > 0)})

    values = sorted(rows[along].unique().tolist())
    hues = style.ordered(values)
    means = _means(rows, list(found[0]), along, response)
    scale = _limits(means, rows[response], list(found[0]), along, options)
    marked = [value for value in values if means.loc[means[along] == value, "diverged"].any()]
    strip = min(0.035 * len(marked) + 0.03, STRIP) if marked else 0.0

    fig, axes = layout.panels(len(found), options.columns or layout.columns_for(found))
    optima: list[str] = []
    for ax, group in zip(axes, found, strict=True):
        _loss_axis(ax, scale, strip)
        x = rows["log2_lr"]
        octaves(ax, "x", x.min(), x.max())
        ax.set_xlim(x.min() - 0.3, x.max() + 0.3)
        own, own_means = rows_of_group(rows, group), rows_of_group(means, group)
        _curves(ax, own, own_means, along, response, hues, scale.high)
        optima += _optima(ax, estimates_of_group(data.optima, spec.fit, group), own_means, along, hues)
        _diverged(ax, own_means, along, hues, marked, strip)
        above = int((own_means["mean"] > scale.high).sum())
        note = f"{above} of {own_means['mean'].notna().sum()} means above the axis"
        layout.panel_title(ax, words.phrase(group), note if above else "")
    layout.outer_labels(axes, options.rate, data.label(response))
    layout.legend(fig, _keys(hues, options.hue_label or words.label(along), rows, means, optima))
    return fig


def _means(rows: pd.DataFrame, by: list[str], along: str, response: str) -> pd.DataFrame:
    """Mean over surviving seeds and share of diverged seeds per group, shape and rate."""
    by = [column for column in by if column in rows.columns]
    grouped = rows.groupby([*by, along, "log2_lr"], sort=True)
    return grouped.agg(mean=(response, geometric_mean), diverged=("diverged", "mean")).reset_index()


def _limits(means: pd.DataFrame, losses: pd.Series, by: list[str], along: str, options: SweepOptions) -> LossScale:
    """Range of the loss axis: from below the best run to where three quarters of the means are seen.

    The flat of a loss that never fell and the blow-up near divergence would press the basins flat, so the upper end is
    cut; how many means lie above is written on the panel.
    """
    import numpy as np

    finite = means["mean"][np.isfinite(means["mean"])]
    if finite.empty:
        return LossScale(0.1, 1.0, False)
    by = [column for column in by if column in means.columns]
    best = means.groupby([*by, along])["mean"].min().dropna()
    low, worst_best = float(losses[np.isfinite(losses)].min()), float(best.max())
    shown = 0.75 if means["log2_lr"].nunique() > 5 else 1.0
    high = options.ceiling or max(float(finite.quantile(shown)), worst_best + 0.6 * (worst_best - low))
    if finite.max() <= low + 1.25 * (high - low) and options.ceiling is None:
        high = float(finite.max())
    high = max(high, worst_best, low + 1e-12 + 1e-3 * abs(low))
    log = options.loss_axis == "log" or (options.loss_axis == "auto" and low > 0 and high / low > 8)
    if log and low > 0:
        return LossScale(low / (high / low) ** 0.06, high * (high / low) ** 0.03, True)
    return LossScale(low - 0.06 * (high - low), high + 0.03 * (high - low), False)


def _loss_axis(ax: Axes, scale: LossScale, strip: float) -> None:
    """The loss axis with room at the top for the strip of diverged rates, beside which no tick may stand."""
    from matplotlib.ticker import FixedLocator

    low, high, log = scale
    room = strip / (1 - strip)
    if log:
        log_axis(ax, low, high * (high / low) ** room)
        ticks = log_ticks(low, high)
    else:
        ax.set_ylim(low, high + (high - low) * room)
        ticks = [value for value in ax.yaxis.get_major_locator().tick_values(low, high) if low <= value <= high]
    ax.yaxis.set_major_locator(FixedLocator(ticks))


def _curves(
    ax: Axes,
    own: pd.DataFrame,
    means: pd.DataFrame,
    along: str,
    response: str,
    hues: dict[Any, Any],
    ceiling: float,
) -> None:
    if own.empty:
        layout.explain_empty(ax, "no run in this group")
    elif not means["mean"].notna().any():
        layout.explain_empty(ax, "every run diverged")
    else:
        dots = {"marker": "o", "markersize": 3, "markeredgewidth": 0}
        draw_seed_lines(ax, own, "log2_lr", response, along, hues, geometric_mean, ceiling, **dots)


def _optima(ax: Axes, optima: pd.DataFrame, means: pd.DataFrame, along: str, hues: dict[Any, Any]) -> list[str]:
    """Mark the optima with their intervals and return the markers that were used."""
    import numpy as np

    path, used = [], []
    for value, row in optima.set_index("x").sort_index().iterrows() if len(optima) else ():
        if value not in hues:
            continue
        inside = row["status"] == "interior" and math.isfinite(row["log2_lr_opt"])
        x = float(row["log2_lr_opt"] if inside else row["grid_best"])
        own = means[(means[along] == value) & means["mean"].notna()]
        if not math.isfinite(x) or own.empty:
            continue
        y = float(row["loss_at_opt"])
        if not math.isfinite(y):
            y = float(np.interp(x, own["log2_lr"], own["mean"]))
        used.append("optimum" if inside else power_law.beyond(row["ci_low"], row["ci_high"], "x"))
        if not inside:
            ax.plot(x, y, used[-1], ms=6.5, mfc="white", mec=hues[value], mew=1.3, zorder=6, gid="censored")
            continue
        path.append((x, y))
        draw_interval(ax, y, x, [row["ci_low"], row["ci_high"]], ax.get_xlim(), "x", hues[value])
        ax.plot(x, y, "o", ms=5, color=hues[value], zorder=5, gid="optimum")
    if len(path) > 1:
        ax.plot(*zip(*path, strict=True), color=style.INK, lw=0.8, ls=":", zorder=4.4)
    return used


def _diverged(ax: Axes, means: pd.DataFrame, along: str, hues: dict[Any, Any], marked: list[Any], strip: float) -> None:
    """A strip at the top edge, one row per width, with a cross where all seeds diverged and a ring where some did."""
    from matplotlib.patches import Rectangle

    if not marked:
        return
    ax.add_patch(
        Rectangle((0, 1 - strip), 1, strip, transform=ax.transAxes, facecolor="#e6e8ec", edgecolor="none", zorder=5.5)
    )
    across = ax.get_xaxis_transform()
    for index, value in enumerate(reversed(marked)):
        height = 1 - (index + 0.9) * strip / (len(marked) + 0.8)
        own = means[(means[along] == value) & (means["diverged"] > 0)]
        for x, share in zip(own["log2_lr"], own["diverged"], strict=True):
            look = CROSS if share == 1 else RING
            ax.plot(x, height, transform=across, color=hues[value], ms=3.6, zorder=6, gid="diverged", **look)


def _keys(hues: dict[Any, Any], name: str, rows: pd.DataFrame, means: pd.DataFrame, optima: list[str]) -> list[Any]:
    seeds = rows["seed"].nunique()
    keys = [layout.line_key(name, "none")]
    keys += [layout.line_key(words.word(value), color, marker="o", ms=3) for value, color in hues.items()]
    keys.append(layout.line_key(f"geometric mean of {seeds} seeds" if seeds > 1 else "one seed"))
    if seeds > 1:
        keys.append(layout.band_key("range of seeds"))
    if "optimum" in optima:
        keys.append(layout.line_key("optimum, 95 % interval", marker="o", ms=4.6, lw=1.6))
    for marker in sorted(set(optima) - {"optimum"}):
        keys.append(power_law.beyond_key(marker))
    if (means["diverged"] == 1).any():
        keys.append(layout.line_key("all seeds diverged", ms=4, lw=0, **CROSS))
    if ((means["diverged"] > 0) & (means["diverged"] < 1)).any():
        keys.append(layout.line_key("some seeds diverged", ms=4, lw=0, **RING))
    return keys
