"""Optima of cells along one variable, coloured by another, with the power law that was fitted to them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from muster.config.models import FigureConfig
from muster.errors import MusterError
from muster.plots import layout, style, words
from muster.plots.axes import draw_interval, fit_log_axis, log_x_axis
from muster.plots.base import Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import Group

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFIX = "log2_"  # of a cell's optimal value; its error is prefixed by `se_` as well


class _Panel(NamedTuple):
    """The optima of one quantity in one group: columns of the cells, y in log2, and the exponents of its law."""

    group: Group
    quantity: str
    cells: pd.DataFrame
    exponents: dict[str, float]
    note: str


def _shows(data: PlotData, spec: FigureConfig, options: Options) -> str:
    along = words.name_of(data.study.fits[spec.fit].along) if spec.fit else "its variable"
    quantities = [
        words.name_of(name) for name in dict.fromkeys(_known(panel.quantity) for panel in _panels(data, spec))
    ]
    return f"optimal {' and '.join(quantities) or 'value'} against {along}"


@plot("optima_law", Options, _shows)
def optima_law(data: PlotData, spec: FigureConfig, options: Options) -> Figure:
    """Optimum of each cell with its 95 % interval on log axes, and the fitted power law at each value of the hue.

    For fits that record their cells (`isoflop`, `lr_batch_surface`); a panel for each group and quantity. Cells without
    an interior optimum are left out of law and figure, and counted.
    """
    if spec.fit is None:
        raise MusterError("fit", "missing", f"Fits of the study: {', '.join(data.study.fits)}")
    fit = data.study.fits[spec.fit]
    found = _panels(data, spec)
    if not found:
        return layout.empty_figure("no cell has an interior optimum: see the notes of the fits")
    fig, axes = layout.panels(len(found), sharey=len({panel.quantity for panel in found}) == 1)
    hues = [name for name in found[0].exponents if name != fit.along]
    hue = hues[0] if hues else None
    values = sorted({float(value) for panel in found for value in panel.cells[hue]}) if hue else []
    looks = style.ordered(values) if values else {}
    for ax, panel in zip(axes, found, strict=True):
        _draw(ax, panel, fit.along, hue, looks)
        name = "" if len({each.quantity for each in found}) == 1 else words.name_of(panel.quantity)
        title = " · ".join(filter(None, [words.phrase(panel.group), name]))
        layout.panel_title(ax, title, panel.note)
    several = len({panel.quantity for panel in found}) > 1
    for quantity in {panel.quantity for panel in found}:
        fit_log_axis([ax for ax, panel in zip(axes, found, strict=True) if panel.quantity == quantity])
    for ax in axes if several else []:
        ax.tick_params(labelleft=True)
    spans = [panel.cells[fit.along].to_numpy(float) for panel in found]
    for ax in axes:
        log_x_axis(ax, min(map(min, spans)), max(map(max, spans)))
    layout.outer_labels(axes, data.label(fit.along), _label(found[0].quantity, data))
    for ax, panel in zip(axes, found, strict=True) if several else []:
        ax.set_ylabel(words.stacked_label(_label(panel.quantity, data), 34))
    keys = [layout.line_key("optimum, 95 % interval", marker="o", lw=1.2), layout.line_key("fitted power law")]
    if hue:
        keys.append(layout.line_key(words.stacked_label(words.name_of(hue), 22), "none"))
        keys += [layout.line_key(words.tick_text(v), color, marker="o", ls="none") for v, color in _few(looks)]
    layout.legend(fig, keys)
    return fig


def _panels(data: PlotData, spec: FigureConfig) -> list[_Panel]:
    import pandas as pd

    fit = data.study.fits[spec.fit]  # type: ignore[index]
    rows = (
        data.fits[(data.fits["fit"] == spec.fit) & data.fits["primary"].astype(bool)] if len(data.fits) else data.fits
    )
    panels = []
    for text in [] if rows.empty else dict.fromkeys(rows["group"]):
        own = rows[rows["group"] == text]
        cells = pd.DataFrame(json.loads(own["diagnostics"].iloc[0]).get("cells", []))
        if cells.empty or not (inside := cells["status"] == "interior").any():
            continue
        # The learning rate comes first, as in the name of the field.
        quantities = [name for name in cells.columns if name.startswith(PREFIX)]
        for quantity in sorted(quantities, key=lambda name: name != "log2_lr"):
            exponents, note = _law(own, quantity.removeprefix(PREFIX), fit.along)
            if len(cells) > inside.sum():
                note += f"; {inside.sum()} of {len(cells)} cells interior"
            panels.append(_Panel(json.loads(text), quantity, cells[inside], exponents, note))
    return panels


def _law(own: pd.DataFrame, quantity: str, along: str) -> tuple[dict[str, float], str]:
    """Variable → exponent of a quantity, with the interval of each in words.

    A fit of one quantity along one axis has one row; else a row's parameter is `<quantity>_<variable>`.
    """
    exponents: dict[str, float] = {}
    notes = []
    for _, row in own.iterrows():
        several = str(row["parameter"]).startswith(f"{quantity}_")
        if not several and len(own) > 1:
            continue
        name = str(row["parameter"]).removeprefix(f"{quantity}_") if several else along
        exponents[name] = float(row["estimate"])
        text = words.interval_text(row["estimate"], row["ci_low"], row["ci_high"])
        notes.append(f"exponent in {_symbol(name)}: {text}")
    return exponents, "\n".join(notes)


def _known(quantity: str) -> str:
    """The column of a quantity: the logarithms of rate and batch size are columns themselves."""
    return quantity if quantity in ("log2_lr", "log2_batch") else quantity.removeprefix(PREFIX)


def _label(quantity: str, data: PlotData) -> str:
    return "optimal " + data.label(_known(quantity))


def _symbol(variable: str) -> str:
    """N of `parameters N`: the last word of a variable's name where it is a symbol, else the name."""
    last = words.name_of(variable).rpartition(" ")[2]
    return last if len(last) == 1 else words.name_of(variable)


def _draw(ax: Axes, panel: _Panel, along: str, hue: str | None, looks: dict[Any, Any]) -> None:
    import numpy as np

    cells = panel.cells.sort_values(along)
    y = 2.0 ** cells[panel.quantity].to_numpy(float)
    error = cells.get(f"se_{panel.quantity}")
    half = 1.96 * error.to_numpy(float) if error is not None else np.full(len(cells), np.nan)
    colors = [looks[float(value)] if hue else style.CATEGORIES[0] for value in (cells[hue] if hue else cells[along])]
    x = cells[along].to_numpy(float)
    window = (y.min() / 4, y.max() * 4)
    for at, value, spread, color in zip(x, y, half, colors, strict=True):
        draw_interval(ax, at, value, (value / 2**spread, value * 2**spread), window, "y", color)
        ax.plot([at], [value], "o", color=color, ms=4.5, zorder=3.5, gid="optimum")
    ax.set_yscale("log")
    slopes = {name: value for name, value in panel.exponents.items() if math.isfinite(value)}
    if along not in slopes:
        return
    level = np.log(y) - sum(value * np.log(cells[name].to_numpy(float)) for name, value in slopes.items())
    line = np.geomspace(x.min(), x.max(), 2)
    for value in [value for value, _ in _few(looks)] if hue in slopes else [1.0]:
        shift = slopes[hue] * math.log(value) if hue in slopes and hue is not None else 0.0
        fitted = np.exp(level.mean() + shift + slopes[along] * np.log(line))
        color = looks[value] if hue in slopes else style.MUTED
        ax.plot(line, fitted, color=color, lw=1.1, zorder=2.2, gid="fit")


def _few(looks: dict[Any, Any], most: int = 5) -> list[tuple[Any, Any]]:
    """Some of the hues, the first and the last among them."""
    items = list(looks.items())
    step = max(1, math.ceil((len(items) - 1) / (most - 1)))
    return list(dict([*items[::step], items[-1]]).items())
