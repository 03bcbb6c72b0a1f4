"""Parameters of a fitted law, each on its own axis, against published vectors of the same law."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pydantic import Field

from muster.config.models import FigureConfig
from muster.plots import layout, style, words
from muster.plots.axes import draw_interval, log_x_axis
from muster.plots.base import Options, plot
from muster.plots.data import PlotData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DECADES = 100  # range of a parameter from which on its axis is logarithmic


class CoefficientsOptions(Options):
    """Options of `coefficients`."""

    parameters: list[str] = Field(default_factory=list, description="Parameters that are shown; all of them if empty")


def _shows(data: PlotData, spec: FigureConfig, options: CoefficientsOptions) -> str:
    against = " against published ones" if _published(data, spec) else ""
    estimator = data.study.fits[spec.fit].estimator if spec.fit else "fit"
    return f"Parameters of the {words.law(estimator) if against else words.word(estimator)}{against}"


@plot("coefficients", CoefficientsOptions, _shows)
def coefficients(data: PlotData, spec: FigureConfig, options: CoefficientsOptions) -> Figure:
    """One panel per parameter: estimate with 95 % interval per group, and the published vectors as marks."""
    rows = (
        data.fits[(data.fits["fit"] == spec.fit) & data.fits["primary"].astype(bool)] if len(data.fits) else data.fits
    )
    from muster.fitting.laws.law import law_of

    published = _published(data, spec)
    tests = _tests(data, spec)
    known = [] if rows.empty else list(dict.fromkeys(rows.loc[~rows["parameter"].isin(tests), "parameter"]))
    names = [name for name in known if name in options.parameters or not options.parameters]
    names = [name for name in names if rows.loc[rows["parameter"] == name, "estimate"].map(math.isfinite).any()]
    if not names:
        return layout.empty_figure("nothing was estimated: see the notes of the fits")
    found = list(dict.fromkeys(rows["group"]))
    looks = style.categories(list(published))
    height = 0.85 + 0.22 * len(found)
    fig, axes = layout.panels(len(names), min(len(names), 3), size=(2.3, height), sharex=False, sharey=True)
    for ax, name in zip(axes, names, strict=True):
        _draw(ax, rows[rows["parameter"] == name].set_index("group"), found)
        for vector, parts in published.items():
            color, marker = looks[vector]
            for group, values in parts:
                at = len(found) - 0.4 if group is None else found.index(group) + 0.3 if group in found else None
                if name in values and at is not None:
                    ax.plot([values[name]], [at], marker=marker, color=color, ls="none", ms=5.5, zorder=4)
        _window(
            ax, [value for c in ("estimate", "ci_low", "ci_high") for value in rows.loc[rows["parameter"] == name, c]]
        )
        layout.panel_title(ax, words.symbol(name))
        ax.set_ylim(-0.6, len(found) - 0.1)
        ax.set_yticks(range(len(found)), [_words(group) for group in found])
        ax.grid(False, axis="y")
    if (
        spec.fit is not None and law_of(data.study.fits[spec.fit]) is None
    ):  # no parameters: numbers in the response's unit
        layout.outer_labels(axes, data.label(data.study.fits[spec.fit].response), "")
    keys = [layout.line_key("estimate, 95 % interval", style.INK, marker="o")]
    keys += [
        layout.line_key(f"published: {words.sentence(words.word(name))}", color, marker=mark, ls="none")
        for name, (color, mark) in looks.items()
    ]
    layout.legend(fig, keys)
    return fig


def _tests(data: PlotData, spec: FigureConfig) -> set[str]:
    """Numbers of the fit that are no parameters."""
    from muster.fitting.laws.estimate import tested_numbers

    return set(tested_numbers(data.study.fits[spec.fit])) if spec.fit is not None else set()


def _published(data: PlotData, spec: FigureConfig) -> dict[str, list[tuple[str | None, dict[str, float]]]]:
    """The vectors that the fit is held against, with the derived parameters of those that are complete: name → the
    group that each is of, None where it is of all, and its values."""
    import numpy as np

    from muster.fitting.base import group_key
    from muster.fitting.laws.law import law_of
    from muster.fitting.laws.printed import values as printed_values

    if spec.fit is None:
        return {}
    fit = data.study.fits[spec.fit]
    vectors: dict[str, list[tuple[str | None, dict[str, float]]]] = {}
    for name, given in fit.options.get("published", {}).items():
        parts = [(None, given)] if isinstance(given, dict) else [(group_key(p["where"]), p["values"]) for p in given]
        vectors[name] = [(group, printed_values(vector)) for group, vector in parts]
    if (law := law_of(fit)) is not None:
        for _, values in (part for parts in vectors.values() for part in parts):
            if set(law.parameters) <= set(values):
                natural = np.array([[values[name] for name in law.parameters]], float)
                values.update({name: float(derive(natural)[0]) for name, derive in law.derived.items()})
    return vectors


def _draw(ax: Axes, rows: pd.DataFrame, found: list[str]) -> None:
    """Estimates from below, one line a group; an open end of an interval is an arrow at the edge of the window."""
    finite = [float(v) for c in ("estimate", "ci_low", "ci_high") for v in rows[c] if math.isfinite(v)]
    spread = (max(finite) - min(finite)) or abs(finite[0]) or 1.0
    window = (min(finite) - spread, max(finite) + spread)
    for at, group in enumerate(found):
        if group not in rows.index:
            continue
        value, low, high = map(float, rows.loc[group, ["estimate", "ci_low", "ci_high"]].to_numpy(float))
        if math.isfinite(value):
            ax.plot([value], [at], "o", color=style.INK, zorder=4)
            draw_interval(ax, at, value, (low, high), window, "x", style.INK)


def _window(ax: Axes, known: list[float]) -> None:
    """A logarithmic axis for what is positive and spans decades, which would all lie at the origin of a linear one."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.margins(x=0.12)
    if math.isfinite(max(known)) and min(known) > 0 and max(known) > DECADES * min(known):
        log_x_axis(ax, *ax.dataLim.intervalx)
        return
    ax.xaxis.set_major_locator(MaxNLocator(4))
    if max(map(abs, ax.get_xlim())) >= 1e4:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.tick_text(value)))


def _words(group: str) -> str:
    return words.phrase(json.loads(group)) or "estimate"
