"""A sampled quantity against layer (or width) with its closed form."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from muster.config.models import FigureConfig, FitConfig, Name
from muster.errors import MusterError
from muster.plots import layout, style, words
from muster.plots.axes import draw_error_bars, fit_log_axis, shape_axis, whole_numbers
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import fit_of, fitted_rows, grouping, groups_in, rows_of_group

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SPARSE = 8  # points of one hue that have room for intervals side by side
CROWD = 40  # points of one panel that have room for marks of the usual size


class ProfileOptions(Options):
    """Options of `theory_profile`."""

    formula: Name | None = Field(None, description="A registered closed form; the fit's option `formula` if absent")
    x: Annotated[Name, Names("probes")] = Field("layer", description="The x-axis: layer or width")
    hue: Annotated[Name | None, Names("probes")] = Field(
        None, description="Ordered hue; width if the x-axis is the layer, else none"
    )
    by: Annotated[list[str] | None, Names("probes")] = Field(
        None, description="Columns of panels; the fit's `by` if absent"
    )
    x_axis: Literal["auto", "linear", "log2"] = Field("auto", description="auto: log2 from a 16-fold range on")
    y_axis: Literal["auto", "linear", "log"] = Field("auto", description="auto: log if the values span 20-fold")
    label: str | None = Field(None, description="Label of the y-axis with its unit; the probe's own if absent")
    x_label: str | None = Field(None, description="Label of the x-axis with its unit; the column's own if absent")


def _shows(data: PlotData, spec: FigureConfig, options: ProfileOptions) -> str:
    rows = fitted_rows(data, spec, "probes")
    y = options.label or (words.label(rows["probe"].iloc[0]) if len(rows) else "measurement")
    compared = " with its closed form" if _formula(options, fit_of(data, spec)) else ""
    return f"{words.without_unit(y)} against {words.without_unit(_x_label(options))}{compared}"


@plot("theory_profile", ProfileOptions, _shows)
def theory_profile(data: PlotData, spec: FigureConfig, options: ProfileOptions) -> Figure:
    """A probe against layer or width with its closed form, 95 % Monte-Carlo intervals, and the ratio of the two.

    Points are means over seeds, and over the layers in the formula's range where the x-axis is not the layer. Their
    error is the Monte-Carlo error that the table carries, or, where it carries none, the standard error over seeds.
    """
    fit = fit_of(data, spec)
    rows = fitted_rows(data, spec, "probes")
    rows = rows[rows["value"].notna()] if len(rows) else rows
    if rows.empty:
        return layout.empty_figure("no probe is selected")
    if rows["probe"].nunique() > 1:
        found = ", ".join(sorted(rows["probe"].unique()))
        raise MusterError("select.probe", f"several probes are selected ({found})", "Select one probe")
    formula = _formula(options, fit)
    hue = options.hue or ("width" if options.x == "layer" else None)
    by = options.by if options.by is not None else grouping(fit, rows)
    by = [column for column in by if column in rows.columns and column not in (options.x, hue)]
    rows = rows.assign(used=_used(rows, fit))
    points = _points(rows, [*by, *filter(None, [hue]), options.x], formula)
    found_groups = groups_in(points, by)
    hues = style.ordered(sorted(points[hue].unique().tolist())) if hue else {None: style.CATEGORIES[0]}
    count = len(found_groups)
    fig, axes = layout.panels(
        count * (2 if formula else 1), count, size=(3.1, 1.9), sharey="row", heights=[2, 1] if formula else None
    )
    for column, group in enumerate(found_groups):
        own = rows_of_group(points, group)
        for index, (value, color) in enumerate(hues.items()):
            each = (own[own[hue] == value] if hue else own).sort_values(options.x)
            if each.empty:
                continue
            if formula:
                axes[column].plot(*_theory(formula, each, options.x), color=color, lw=1.2, zorder=2, gid="theory")
                _ratios(axes[count + column], each, options, index, len(hues), color)
            size = style.nested(index, len(hues)) if len(own) <= CROWD else 0.75
            _points_with_bars(axes[column], each, options.x, "value", color, size)
        layout.panel_title(axes[column], words.phrase(group))
    _dress(axes, count, points, options, bool(formula))
    axes[0].set_ylabel(words.stacked_label(options.label or words.label(rows["probe"].iloc[0]), 30))
    known = bool(points["value_half"].gt(0).any())
    layout.legend(fig, _keys(hues, hue, bool(formula), known, layout.drawn_by_name(axes)))
    return fig


def _x_label(options: ProfileOptions) -> str:
    return options.x_label or words.label(options.x)


def _formula(options: ProfileOptions, fit: FitConfig | None) -> str | None:
    return options.formula or (fit.options.get("formula") if fit else None)


def _points(rows: pd.DataFrame, keys: list[str], formula: str | None) -> pd.DataFrame:
    """One row per point: mean over seeds, its 95 % half-width, the closed form, their ratio and its half-width."""
    import numpy as np

    from muster.fitting.frames import keys as frame_keys

    if "layer" not in keys and rows["used"].any():
        rows = rows[rows["used"]]
    settings = [column for column in frame_keys(rows) if column not in (*keys, "seed", "width", "layer", "used")]
    rows = rows.assign(variance=rows["se"] ** 2 if "se" in rows.columns else np.nan)
    if formula:
        rows = rows.assign(theory=closed_form(formula, rows))
    grouped = rows.groupby(keys, sort=True)
    points = grouped.agg(
        value=("value", "mean"),
        n=("value", "size"),
        spread=("value", "std"),
        used=("used", "all"),
        **{other: (other, "mean") for other in ("width", "layer") if other not in keys},
        **{setting: (setting, "first") for setting in settings},
        variance=("variance", lambda each: each.sum(skipna=False)),
        **({"theory": ("theory", "mean")} if formula else {}),
    ).reset_index()
    points["value_half"] = _half_width(points)
    if formula:
        points["ratio"], points["ratio_half"] = (
            points["value"] / points["theory"],
            points["value_half"] / points["theory"].abs(),
        )
    return points


def _half_width(points: pd.DataFrame) -> np.ndarray:
    """1.96 Monte-Carlo errors of the mean over seeds, else the t interval over seeds; NaN for a single bare value."""
    import numpy as np
    from scipy.special import stdtrit

    n = points["n"].to_numpy(float)
    quantile = np.where(n > 1, stdtrit(np.maximum(n - 1, 1), 0.975), np.nan)
    over_seeds = quantile * points["spread"].to_numpy(float) / np.sqrt(n)
    monte_carlo = 1.96 * np.sqrt(points["variance"].to_numpy(float)) / n
    return np.where(np.isfinite(monte_carlo), monte_carlo, over_seeds)


def closed_form(name: str, rows: pd.DataFrame) -> pd.Series:
    """The registered closed form at every row.

    Raises:
        MusterError: no closed form of that name.
    """
    from muster.fitting.closed_forms.base import CLOSED_FORMS

    return CLOSED_FORMS[name](rows)


def _theory(formula: str, each: pd.DataFrame, x: str) -> tuple[np.ndarray, np.ndarray]:
    """The closed form between the first and the last point of one line, whose other settings are those of its first."""
    import numpy as np
    import pandas as pd

    low, high = each[x].min(), each[x].max()
    grid = np.geomspace(low, high, 65) if low > 0 else np.linspace(low, high, 65)
    other = "width" if x == "layer" else "layer"
    line = pd.concat([each.iloc[[0]]] * len(grid), ignore_index=True)
    line[x], line[other] = grid, each[other].mean()
    return grid, closed_form(formula, line).to_numpy(float)


def _used(rows: pd.DataFrame, fit: FitConfig | None) -> pd.Series:
    """Whether a row lies where the fit applies its formula: some hold for deep layers, or to first order, only."""
    options = fit.options if fit else {}
    deep = rows["layer"] >= options.get("min_layer", 1)
    return deep & (rows["layer"] <= options.get("max_ratio", math.inf) * rows["width"])


def _points_with_bars(ax: Axes, each: pd.DataFrame, x: str, y: str, color: Any, size: float = 1.0) -> None:
    """Points with their intervals, of so many times the usual size; without caps where they are small."""
    ms, width, cap = 3.4 * size, size, 1.8 * size if size >= 1 else 0.0
    for used, some in each.groupby("used"):
        face, gid = (color, "points") if used else ("white", "unused")
        look: dict[str, Any] = {"ms": ms, "elinewidth": width, "capsize": cap, "zorder": 3, "mfc": face, "gid": gid}
        draw_error_bars(ax, some[x], some[y], some[f"{y}_half"], fmt="o", color=color, **look)


def _ratios(ax: Axes, each: pd.DataFrame, options: ProfileOptions, index: int, count: int, color: Any) -> None:
    """Ratios of one hue: a line with its 95 % band where points stand close, else points with intervals side by side.

    All hues have ratios near 1, so that intervals at the same place would hide each other.
    """
    import numpy as np

    x = each[options.x].to_numpy(float)
    if len(x) <= SPARSE:
        low, high = x.min(), x.max()
        to, back = (np.log2, np.exp2) if _doubles(options, sorted(x)) else (np.asarray, np.asarray)
        aside = back(side_by_side(to(x), index, count))
        _points_with_bars(ax, each.assign(**{options.x: np.clip(aside, low, high)}), options.x, "ratio", color)
        return
    ratio, half = each["ratio"].to_numpy(float), each["ratio_half"].to_numpy(float)
    ax.plot(x, ratio, color=color, lw=1.0, zorder=3, gid="ratio")
    ax.fill_between(x, ratio - half, ratio + half, color=color, alpha=0.18, lw=0, zorder=1.5, gid="range")
    outside = each[~each["used"]]
    ax.plot(outside[options.x], outside["ratio"], "o", ms=2.4, color=color, mfc="white", mew=0.7, zorder=3)


def side_by_side(x: np.ndarray, index: int, count: int) -> np.ndarray:
    """Places of one of `count` hues beside each ascending x, none of them outside the range of x."""
    import numpy as np

    if count == 1 or len(x) == 1:
        return x
    length = x[-1] - x[0]
    spread = min(0.6 * np.diff(x).min(), 0.07 * length, 0.02 * (count - 1) * length)
    return x[0] + (x - x[0]) * (1 - spread / length) + spread * index / (count - 1)


def _doubles(options: ProfileOptions, values: Sequence[float]) -> bool:
    """Whether the x-axis is logarithmic."""
    wide = values[0] > 0 and values[-1] >= 16 * values[0]
    return options.x_axis == "log2" or (options.x_axis == "auto" and wide)


def _dress(axes: list[Axes], count: int, points: pd.DataFrame, options: ProfileOptions, compared: bool) -> None:
    values = sorted(points[options.x].unique().tolist())
    positive = points["value"].gt(0).all()
    spans = positive and points["value"].max() / points["value"].min() > 20
    if positive and (options.y_axis == "log" or (options.y_axis == "auto" and spans)):
        fit_log_axis(axes[:count])
    for ax in axes:
        if _doubles(options, values):
            shape_axis(ax, values)
        else:
            whole_numbers(ax)
    for ax in axes[-count:]:
        ax.set_xlabel(_x_label(options))
    if compared:
        ratios = points["ratio"]
        if ratios.gt(0).all() and ratios.max() / ratios.min() > 5:
            fit_log_axis(axes[count:])
        for ax in axes[count:]:
            ax.axhline(1, color=style.INK, lw=0.9, zorder=1.5)
        axes[count].set_ylabel("measured ∕ formula\n(dimensionless)")


def _keys(hues: dict[Any, Any], hue: str | None, compared: bool, known: bool, found: Container[str]) -> list[Any]:
    """Legend entries. compared: with a closed form, hence lines; known: whether any point has an interval."""
    keys = [layout.line_key(words.hue_label(hue, hues), "none")] if hue else []
    width = 1.2 if compared else 0
    names = {value: words.word(value) for value in hues if hue}
    keys += [layout.line_key(name, hues[value], marker="o", ms=3.6, lw=width) for value, name in names.items()]
    keys.append(layout.line_key(f"measured, {'95 % interval' if known else 'no interval'}", marker="o", ms=3.6, lw=0))
    if "unused" in found:
        keys.append(layout.line_key("outside the formula's range", marker="o", ms=3.6, mfc="white", lw=0))
    if "range" in found and known:
        keys.append(layout.band_key("95 % interval of the ratio"))
    return [*keys, layout.line_key("closed form", lw=1.2)] if compared else keys
