"""A fitted law: the response along one variable with the law's curves, and the relative residuals below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from muster.config.models import FigureConfig
from muster.errors import MusterError
from muster.plots import frames, style
from muster.plots.base import Options, PlotData, plot

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from muster.fitting.laws.base import Law

CURVES = 5


class LawFitOptions(Options):
    """Options of `law_fit`."""

    x: str | None = Field(None, description="Variable of the law on the x-axis; the fit's `along` if absent")
    hue: str | None = Field(None, description="Variable of the law shown by colour; its first other one if absent")


class _Fitted(NamedTuple):
    """Rows of one group: variables [V, R], response [R], prediction [R], and which were held out of the fit."""

    law: Law
    natural: np.ndarray
    x: np.ndarray
    y: np.ndarray
    predicted: np.ndarray
    held: np.ndarray


@plot("law_fit", LawFitOptions)
def law_fit(data: PlotData, spec: FigureConfig, options: LawFitOptions) -> Figure:
    """Response against one variable of a fitted law, coloured by another; curves of the law; residuals below.

    A curve keeps the second variable at a value that occurs; it is drawn where the law has no third one that varies.
    Rows that were held out of the fit are rings.
    """
    law = _law(data, spec)
    fit = data.study.fits[spec.fit]  # type: ignore[index]
    columns = dict(zip(law.variables, law.columns(fit.options.get("columns", {}), fit.along), strict=True))
    across = options.x or next((name for name, column in columns.items() if column == fit.along), law.variables[0])
    hue = options.hue or next((name for name in law.variables if name != across), None)
    for option, name in (("x", across), ("hue", hue)):
        if name is not None and name not in columns:
            raise MusterError(f"options.{option}", f"the law has no variable {name!r}", f"One of: {', '.join(columns)}")
    rows = frames.fitted_rows(data, spec, "runs")
    found = [(group, _fitted(data, spec, law, frames.members(rows, group))) for group in frames.groups(rows, fit.by)]
    shown = [(group, each) for group, each in found if each is not None]
    if not shown:
        return style.nothing(data, options.title, "the law was not fitted: see the notes of the fits")
    fig, axes = style.panels(
        2 * len(shown),
        len(shown),
        size=(3.6 if len(shown) == 1 else 2.7, 1.75),
        sharex="col",
        sharey=False,
        heights=(2, 1),
    )
    at = {name: i for i, name in enumerate(law.variables)}
    looks = _looks([each.x[at[hue]] for _, each in shown]) if hue else None
    for k, (group, each) in enumerate(shown):
        above, below = axes[k], axes[k + len(shown)]
        _draw(above, below, each, at[across], at[hue] if hue else None, looks)
        style.panel_title(above, style.phrase(group), _note(each))
    for ax in axes[: len(shown)]:
        style.fit_log_axis([ax])
    _residual_axis(axes[len(shown) :])
    for below in axes[len(shown) :]:
        below.set_xlabel(style.label(columns[across], data))
    axes[0].set_ylabel(style.stacked(style.label(fit.response, data), 24))
    axes[len(shown)].set_ylabel("residual\n(% of the law)")
    style.legend(fig, _keys(axes, columns[hue] if hue else None, looks))
    style.heading(fig, data, options.title)
    return fig


def _law(data: PlotData, spec: FigureConfig) -> Law:
    from muster.fitting.laws.base import LAWS

    if spec.fit is None or data.study.fits[spec.fit].estimator not in LAWS:
        raise MusterError("fit", f"{spec.fit!r} fits no law", f"Name a fit whose estimator is one of {', '.join(LAWS)}")
    return LAWS[data.study.fits[spec.fit].estimator]


def _fitted(data: PlotData, spec: FigureConfig, law: Law, rows: pd.DataFrame) -> _Fitted | None:
    """The rows of one group with what the law predicts for them; None where it was not estimated."""
    import numpy as np

    from muster.fitting.laws.estimate import law_rows

    fit = data.study.fits[spec.fit]  # type: ignore[index]
    group = {column: frames.plain(rows[column].iloc[0]) for column in fit.by} if len(rows) else {}
    estimates = frames.of_group(data.fits, spec.fit, group)
    values = estimates[estimates["primary"].astype(bool)].set_index("parameter")["estimate"]
    natural = np.array([values.get(name, np.nan) for name in law.parameters], float)
    if not len(rows) or not np.isfinite(natural).all():
        return None
    inside, held = law_rows(law, rows, fit)
    x, y = (np.concatenate([getattr(part, name) for part in (inside, held)], axis=-1) for name in ("x", "y"))
    out = np.arange(len(y)) >= len(inside.y)
    return _Fitted(law, natural, x, y, law.predict(natural, x), out)


def _looks(values: list[np.ndarray]) -> Any:
    """A colour map and a logarithmic scale over all values of the hue; None when it takes one value."""
    import numpy as np
    import seaborn as sns
    from matplotlib.colors import ListedColormap, LogNorm

    every = np.concatenate(values)
    if np.ptp(every) == 0:
        return None
    # The light end of the map is cut off, as for every ordered hue.
    shades = ListedColormap(sns.color_palette("viridis", 256)[198:5:-1])
    return shades, LogNorm(float(every.min()), float(every.max()))


def _colors(looks: Any, values: np.ndarray | float) -> Any:
    shades, norm = looks
    return shades(norm(values))


def _draw(above: Axes, below: Axes, each: _Fitted, across: int, hue: int | None, looks: Any) -> None:
    import numpy as np

    x, ratio = each.x[across], 100 * (each.y / each.predicted - 1)
    colors = _colors(looks, each.x[hue]) if looks and hue is not None else np.array([style.CATEGORIES[0]] * len(x))
    looks_of: dict[bool, dict[str, Any]] = {
        False: {"s": 9, "lw": 0, "gid": "points"},
        True: {"s": 16, "lw": 0.9, "gid": "held out"},
    }
    for held, how in looks_of.items():
        part = each.held == held
        face: dict[str, Any] = {"facecolors": "none", "edgecolors": colors[part]} if held else {"c": colors[part]}
        if part.any():
            above.scatter(x[part], each.y[part], zorder=3, **face, **how)
            below.scatter(x[part], ratio[part], zorder=3, **face, **how)
    below.axhline(0, color=style.INK, lw=0.9, zorder=2)
    style.log_x_axis(above, float(x.min()), float(x.max()))
    others = [i for i in range(len(each.x)) if i not in (across, hue) and np.ptp(each.x[i]) > 0]
    if others:
        return
    line = np.geomspace(x.min(), x.max(), 80)
    for value in _levels(each.x[hue]) if hue is not None else [None]:
        grid = np.repeat(np.median(each.x, axis=1)[:, None], len(line), axis=1)
        grid[across] = line
        color = style.MUTED
        if value is not None and hue is not None:
            grid[hue] = value
            color = _colors(looks, value) if looks else color
        above.plot(line, each.law.predict(each.natural, grid), color=color, lw=1.1, zorder=2.5, gid="law")


def _levels(values: np.ndarray) -> np.ndarray:
    """Up to five values that occur, evenly spread over their ranks."""
    import numpy as np

    unique = np.unique(values)
    return unique[np.unique(np.linspace(0, len(unique) - 1, CURVES).round().astype(int))]


def _note(each: _Fitted) -> str:
    import numpy as np

    inside = ~each.held
    parts = [f"{inside.sum()} runs, median |residual| {np.median(np.abs(each.y / each.predicted - 1)[inside]):.2%}"]
    if each.held.any():
        parts.append(f"{each.held.sum()} held out, {np.median(np.abs(each.y / each.predicted - 1)[each.held]):.2%}")
    return "; ".join(parts)


def _residual_axis(axes: list[Axes]) -> None:
    """One symmetric window that holds 99 % of the residuals; points beyond lie at its edge as they fall."""
    import numpy as np

    offsets = [np.asarray(part.get_offsets())[:, 1] for ax in axes for part in ax.collections]
    limit = float(np.quantile(np.abs(np.concatenate(offsets)), 0.99)) * 1.25 or 1.0
    for ax in axes:
        ax.set_ylim(-limit, limit)


def _keys(axes: list[Axes], hue: str | None, looks: Any) -> list[Any]:
    seen = style.drawn(axes)
    keys = [style.line_key("run", marker="o", ls="none")]
    if "held out" in seen:
        keys.append(style.line_key("run held out of the fit", marker="o", ls="none", mfc="none"))
    if "law" in seen:
        keys.append(style.line_key("fitted law", lw=1.1))
    if hue is not None and looks:
        _, norm = looks
        keys.append(style.line_key(style.stacked(style.name_of(hue), 22), "none"))
        steps = [norm.vmin * (norm.vmax / norm.vmin) ** (k / 3) for k in range(4)]
        keys += [
            style.line_key(style.decimal(float(f"{v:.2g}")), _colors(looks, v), marker="o", ls="none") for v in steps
        ]
    return keys
