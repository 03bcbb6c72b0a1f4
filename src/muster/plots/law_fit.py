"""A fitted law: the response along one variable with the law's curves, and the relative residuals below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from muster.config.models import FigureConfig
from muster.errors import MusterError
from muster.plots import layout, style, words
from muster.plots.axes import fit_log_axis, log_x_axis
from muster.plots.base import Names, Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import estimates_of_group, fitted_rows, groups_in, python_scalar, rows_of_group

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from muster.fitting.laws.base import Law

CURVES = 5


class LawFitOptions(Options):
    """Options of `law_fit`."""

    x: Annotated[str | None, Names("variables")] = Field(
        None, description="Variable of the law on the x-axis; the fit's `along` if absent"
    )
    hue: Annotated[str | None, Names("variables")] = Field(
        None, description="Variable of the law shown by colour; its first other one if absent"
    )


class _Fitted(NamedTuple):
    """Rows of one group: variables [V, R], response [R], prediction [R], and which were held out of the fit."""

    law: Law
    natural: np.ndarray
    x: np.ndarray
    y: np.ndarray
    predicted: np.ndarray
    held: np.ndarray


def _shows(data: PlotData, spec: FigureConfig, options: LawFitOptions) -> str:
    columns = _columns(data, spec)
    fit = data.study.fits[str(spec.fit)]
    across = words.name_of(columns[_across(options, columns, fit.along)])
    return f"{words.name_of(fit.response)} against {across} with the fitted {words.law(fit.estimator)}"


@plot("law_fit", LawFitOptions, _shows)
def law_fit(data: PlotData, spec: FigureConfig, options: LawFitOptions) -> Figure:
    """Response against one variable of a fitted law, coloured by another; curves of the law; residuals below.

    A curve keeps the second variable at a value that occurs; it is drawn where the law has no third one that varies.
    Rows that were held out of the fit are rings.
    """
    law = _law(data, spec)
    fit = data.study.fits[str(spec.fit)]
    columns = _columns(data, spec)
    across = _across(options, columns, fit.along)
    hue = options.hue or next((name for name in law.variables if name != across), None)
    if hue is not None and hue not in columns:
        raise _no_variable("hue", hue, columns)
    rows = fitted_rows(data, spec, "runs")
    found = [(group, _fitted(data, spec, law, rows_of_group(rows, group))) for group in groups_in(rows, fit.by)]
    shown = [(group, each) for group, each in found if each is not None]
    if not shown:
        return layout.empty_figure("the law was not fitted: see the notes of the fits")
    fig, axes = layout.panels(
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
        layout.panel_title(above, words.phrase(group), _note(each))
    for ax in axes[: len(shown)]:
        fit_log_axis([ax])
    _residual_axis(axes[len(shown) :])
    for below in axes[len(shown) :]:
        below.set_xlabel(data.label(columns[across]))
    axes[0].set_ylabel(words.stacked_label(data.label(fit.response), 24))
    axes[len(shown)].set_ylabel("residual\n(% of the law)")
    layout.legend(fig, _keys(axes, columns[hue] if hue else None, looks))
    return fig


def _law(data: PlotData, spec: FigureConfig) -> Law:
    from muster.fitting.laws.base import LAWS
    from muster.fitting.laws.law import DECLARED, law_of

    law = None if spec.fit is None else law_of(data.study.fits[spec.fit])
    if law is None:
        known = ", ".join((DECLARED, *LAWS))
        raise MusterError("fit", f"{spec.fit!r} fits no law", f"Name a fit whose estimator is one of {known}")
    return law


def _columns(data: PlotData, spec: FigureConfig) -> dict[str, str]:
    """Variable of the law → column of the runs."""
    law, fit = _law(data, spec), data.study.fits[str(spec.fit)]
    return dict(zip(law.variables, law.columns(fit.options.get("columns", {}), fit.along), strict=True))


def _across(options: LawFitOptions, columns: dict[str, str], along: str) -> str:
    """The variable on the x-axis: the one chosen, else the one of the fit's axis, else the law's first."""
    if options.x is not None and options.x not in columns:
        raise _no_variable("x", options.x, columns)
    return options.x or next((name for name, column in columns.items() if column == along), next(iter(columns)))


def _no_variable(option: str, name: str, columns: dict[str, str]) -> MusterError:
    return MusterError(f"options.{option}", f"the law has no variable {name!r}", f"One of: {', '.join(columns)}")


def _fitted(data: PlotData, spec: FigureConfig, law: Law, rows: pd.DataFrame) -> _Fitted | None:
    """The rows of one group with what the law predicts for them; None where it was not estimated."""
    import numpy as np

    from muster.fitting.laws.estimate import law_rows

    fit = data.study.fits[spec.fit]  # type: ignore[index]
    group = {column: python_scalar(rows[column].iloc[0]) for column in fit.by} if len(rows) else {}
    estimates = estimates_of_group(data.fits, spec.fit, group)
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
    log_x_axis(above, float(x.min()), float(x.max()))
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
    seen = layout.drawn_by_name(axes)
    keys = [layout.line_key("run", marker="o", ls="none")]
    if "held out" in seen:
        keys.append(layout.line_key("run held out of the fit", marker="o", ls="none", mfc="none"))
    if "law" in seen:
        keys.append(layout.line_key("fitted law", lw=1.1))
    if hue is not None and looks:
        _, norm = looks
        keys.append(layout.line_key(words.stacked_label(words.name_of(hue), 22), "none"))
        steps = [norm.vmin * (norm.vmax / norm.vmin) ** (k / 3) for k in range(4)]
        keys += [
            layout.line_key(words.tick_text(float(f"{v:.2g}")), _colors(looks, v), marker="o", ls="none") for v in steps
        ]
    return keys
