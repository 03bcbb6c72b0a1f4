"""Power law of a measured quantity along width, with fit, band and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from muster.config.models import FigureConfig, FitConfig, Name
from muster.errors import MusterError
from muster.fitting.compared import group_columns
from muster.plots import layout, power_law, style, words
from muster.plots.axes import draw_interval, fit_log_axis, shape_axis
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import (
    Group,
    fit_of,
    fitted_rows,
    groups_to_draw,
    predicted_slopes,
    primary_estimate,
    rows_of_group,
    without_hue,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEED = "seed"


class ScalingOptions(Options):
    """Options of `probe_scaling`."""

    hue: Annotated[Name | None, Names("groups")] = Field(
        None, description="`by` column that shares a panel, told apart by colour and marker"
    )
    label: str | None = Field(None, description="Label of the y-axis with its unit; the probe's own if absent")
    x_label: str | None = Field(None, description="Label of the x-axis with its unit; the axis's own if absent")
    columns: int | None = Field(None, ge=1, description="Panels per row")


def _shows(data: PlotData, spec: FigureConfig, options: ScalingOptions) -> str:
    fit = fit_of(data, spec)
    if fit is None:
        return "power law"
    y = options.label or _label(data, fit, fitted_rows(data, spec, fit.table))
    return f"{words.without_unit(y)} against {words.without_unit(options.x_label or words.label(fit.along))}"


@plot("probe_scaling", ScalingOptions, _shows, sweeps=False)
def probe_scaling(data: PlotData, spec: FigureConfig, options: ScalingOptions) -> Figure:
    """Power law of a probe along width on log axes: every seed, fitted line with 95 % band, predicted slope.

    One panel per group of the fit, or one per group without the `hue` column. Values of 0 or below have no logarithm:
    they are not shown, and their number is written on the panel.
    """
    fit = fit_of(data, spec)
    if fit is None:
        raise MusterError("fit", "missing", "probe_scaling draws a fit: name one of the study's fits")
    if options.hue is not None and options.hue not in group_columns(fit):
        known = ", ".join(group_columns(fit)) or "none"
        raise MusterError("options.hue", f"{options.hue!r} tells no groups of the fit apart", f"Known: {known}")
    rows = fitted_rows(data, spec, fit.table)
    found = groups_to_draw(data, spec, rows)
    if rows.empty or not found:
        return layout.empty_figure(f"no measurement has {words.phrase({**fit.select, **spec.select})}")
    facets = without_hue(found, options.hue)
    values = list(dict.fromkeys(group.get(options.hue or "") for group in found))
    looks = style.categories(values)
    sizes = {value: style.nested(index, len(values)) for index, value in enumerate(values)}
    fig, axes = layout.panels(len(facets), options.columns or layout.columns_for(facets))
    notes = []
    for ax, facet in zip(axes, facets, strict=True):
        inside = [group for group in found if facet.items() <= group.items()]
        told = [
            _group(ax, data, spec, group, rows_of_group(rows, group), looks[value], sizes[value], options.hue)
            for group in inside
            for value in [group.get(options.hue or "")]
        ]
        notes.append("\n".join(told))
    fit_log_axis(axes)
    for ax, facet, note in zip(axes, facets, notes, strict=True):
        shape_axis(ax, sorted(rows[fit.along].unique().tolist()))
        if not ax.lines:
            layout.explain_empty(ax, "no value above 0")
        layout.panel_title(ax, words.phrase(facet), note)
    layout.outer_labels(axes, options.x_label or words.label(fit.along), options.label or _label(data, fit, rows))
    layout.legend(fig, _keys(axes, options.hue, looks, "one seed" if SEED in rows.columns else "one run"))
    return fig


def _label(data: PlotData, fit: FitConfig, rows: pd.DataFrame) -> str:
    probes = rows["probe"].unique().tolist() if "probe" in rows.columns else []
    column = probes[0] if fit.response == "value" and len(probes) == 1 else fit.response
    if fit.options.get("aggregate") == "std_over_seeds":
        return f"sd over seeds ∕ RMS, {words.name_of(column)} (dimensionless)"
    return data.label(column)


class Point(NamedTuple):
    """What the estimator fits at one x, with its 95 % interval (NaN for one seed), and the seeds behind it, if any."""

    x: float
    y: float
    low: float
    high: float
    seeds: list[float]


def points(own: pd.DataFrame, fit: FitConfig) -> list[Point]:
    """One point per value of the axis, by the power-law estimator's own statistic and jackknife error over seeds.

    Of a table that names no seeds every row is a run of its own.
    """
    import numpy as np
    from scipy.special import stdtrit

    from muster.fitting.estimators.power_law import PowerLawOptions, choose_statistic, jackknife_se, log_geometric_mean
    from muster.fitting.frames import complete_seeds, levels

    known = {name: value for name, value in fit.options.items() if name in PowerLawOptions.model_fields}
    options = PowerLawOptions.model_validate(known)
    statistic, spread = choose_statistic(options), options.aggregate == "std_over_seeds"
    found = []
    for x, rows in levels(own, fit.along):
        seeded = rows if SEED in rows.columns else rows.assign(**{SEED: range(len(rows))})
        values, _ = complete_seeds(seeded, fit.response, options.pool)
        if not len(values) or not (spread or (values > 0).all()) or not np.isfinite(log_y := statistic(values)):
            continue
        half = stdtrit(len(values) - 1, 0.975) * jackknife_se(values, statistic) if len(values) > 1 else np.nan
        seeds = [] if spread else [float(np.exp(log_geometric_mean(each))) for each in values]
        y, low, high = (float(np.exp(log_y + shift)) for shift in (0, -half, half))
        found.append(Point(x, y, low, high, seeds))
    return found


def _group(
    ax: Axes,
    data: PlotData,
    spec: FigureConfig,
    group: Group,
    own: pd.DataFrame,
    look: tuple[str, str],
    size: float,
    hue: str | None,
) -> str:
    """Draw one group and return its slope in words."""
    import numpy as np

    fit = data.study.fits[str(spec.fit)]
    color, marker = look
    signed = fit.options.get("aggregate") == "std_over_seeds"
    hidden = 0 if signed else int((own[fit.response] <= 0).sum())
    shown = points(own if signed else own[own[fit.response] > 0], fit)
    told, fitted = predicted_slopes(data, spec, group), primary_estimate(data, spec, group)
    for point in shown:
        many = len(point.seeds) > 1
        if many:
            ax.plot(
                [point.x] * len(point.seeds), point.seeds, marker, color=color, ms=3, mew=0, alpha=0.35, gid="seeds"
            )
        ends = (point.low, point.high)
        draw_interval(ax, point.x, point.y, ends, ends, "y", color, width=1.5 * size)
    x, y = np.array([point.x for point in shown]), np.array([point.y for point in shown])
    if len(x):
        ax.plot(x, y, marker, color=color, ms=5 * size, ls="none", zorder=3.5, gid="means")
    power_law.draw_fit(ax, x, y, fitted, color)
    power_law.draw_predictions(ax, x, y, told, color if hue else style.INK)
    note = power_law.slope_note(fitted, told)
    if hidden:
        note += "; " + f"{hidden} values ≤ 0 not shown".replace(" ", "\N{NO-BREAK SPACE}")
    return f"{words.phrase({hue: group[hue]})}: {note.removeprefix('slope ')}" if hue else note


def _keys(axes: list[Axes], hue: str | None, looks: dict[Any, tuple[str, str]], one: str) -> list[Any]:
    found = layout.drawn_by_name(axes)
    color = style.MUTED if hue else style.CATEGORIES[0]
    points = "estimate, 95 % interval" if "interval" in found else "estimate, no interval"
    keys = power_law.hue_keys(hue, looks)
    if "seeds" in found:
        keys.append(layout.line_key(one, color, marker="o", ms=3, lw=0, alpha=0.45))
    return keys + power_law.keys(found, points, "means", color, style.MUTED if hue else style.INK)
