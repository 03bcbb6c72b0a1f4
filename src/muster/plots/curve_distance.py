"""How far apart curves lie along training that share a product of settings, one of its factors, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muster.config.models import FigureConfig
from muster.errors import MusterError
from muster.plots import layout, style, words
from muster.plots.axes import fit_log_axis, log_x_axis
from muster.plots.base import Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import fit_of, fitted_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CurveDistancePlotOptions(Options):
    """Options of `curve_distance`: none."""


def _shows(data: PlotData, spec: FigureConfig, options: CurveDistancePlotOptions) -> str:
    fit = fit_of(data, spec)
    return f"distance of {words.name_of(fit.response) if fit else 'loss'} curves of different seeds, against step"


@plot("curve_distance", CurveDistancePlotOptions, _shows)
def curve_distance(data: PlotData, spec: FigureConfig, options: CurveDistancePlotOptions) -> Figure:
    """Mean |Δ ln loss| of pairs of curves along training, one line for what the two share. Shaded: the fit's window,
    with the ratios of its means beside the title."""
    from muster.fitting.estimators.curve_distance import CurveDistanceOptions, distances, read_curves

    fit = fit_of(data, spec)
    if fit is None or fit.estimator != "curve_distance":
        raise MusterError("fit", "no fit of `curve_distance`", f"Name one: {', '.join(data.study.fits)}")
    chosen = CurveDistanceOptions.model_validate(fit.options)
    rows = fitted_rows(data, spec, "curves")
    rows = rows[rows[fit.response] > 0] if len(rows) else rows
    whole = chosen.model_copy(update={"first": 1, "last": None})
    curves, _ = read_curves(rows, fit, whole) if len(rows) else (None, "")
    if curves is None or curves.log_y.shape[1] < 2:
        return layout.empty_figure("two seeds of every combination of settings are needed")
    names = {
        "both": "same settings, other seed",
        "product": "same product " + " × ".join(words.name_of(name) for name in chosen.product),
        "rival": f"same {words.name_of(chosen.rival)}",
    }
    looks = {"product": (style.CATEGORIES[0], "-"), "rival": (style.CATEGORIES[1], "-"), "both": (style.INK, ":")}
    fig, axes = layout.panels(1, 1, size=(4.2, 2.7))
    ax = axes[0]
    along = distances(curves, range(curves.log_y.shape[1]))
    for name, (color, line) in looks.items():  # seeds last, where they hide least
        ax.plot(curves.steps, along[name], line, color=color, lw=1.4, gid=name)
    log_x_axis(ax, float(curves.steps.min()), float(curves.steps.max()))
    fit_log_axis([ax])
    ax.axvspan(max(chosen.first, ax.get_xlim()[0]), chosen.last or ax.get_xlim()[1], color=style.INK, alpha=0.07, lw=0)
    ax.set_xlabel(words.label("step"))
    ax.set_ylabel(f"mean |Δ ln {words.name_of(fit.response)}|")
    keys = [layout.line_key(names[name], color, ls=line) for name, (color, line) in looks.items()]
    layout.legend(fig, [*keys, layout.band_key("steps that count")])
    return fig
