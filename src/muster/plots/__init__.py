"""Figures of a study and of the ledger: one module per plot, found by name in `PLOTS`, drawn in one house style.

    fig = render("sweep_adam", data)
    save(fig, "sweep_adam.svg", "sweep_adam.png")

Importing this package is cheap: matplotlib and seaborn are loaded when a figure is drawn, so that configuration can be
checked against the plots without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muster.errors import MusterError
from muster.plots import layout
from muster.plots.base import PLOTS, Plot
from muster.plots.data import PlotData
from muster.plots.forest import overview
from muster.plots.style import paper, save, save_small

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(spec_name: str, data: PlotData) -> Figure:
    """Draw one of the study's figures.

    Raises:
        MusterError: the study has no figure of that name, or the figure's plot, fit, options or selection is wrong;
            the place names the study and the figure.
    """
    place = f"{data.study.study}: figures.{spec_name}"
    if spec_name not in data.study.figures:
        known = ", ".join(data.study.figures) or "none"
        raise MusterError(place, "no such figure", f"Figures of the study: {known}")
    spec = data.study.figures[spec_name]
    try:
        return PLOTS[spec.plot](data, spec)
    except MusterError as error:
        raise MusterError(f"{place}.{error.place}", error.found, error.remedy) from None


def render_missing(data: PlotData, missing: Sequence[str]) -> Figure:
    """A figure of a study whose data could not be had: it names them."""
    with paper():
        reason = f"{', '.join(missing)} not available: `muster fetch --missing` says why, and how to get it"
        return layout.empty_figure(reason)


__all__ = ["PLOTS", "Plot", "PlotData", "overview", "render", "render_missing", "save", "save_small"]
