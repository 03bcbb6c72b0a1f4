"""Exponents against the axis that sets them, or against their partners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import Field

from muster.config.models import FigureConfig, FitConfig
from muster.errors import MusterError
from muster.plots import layout, power_law, style, words
from muster.plots.axes import draw_error_bars
from muster.plots.base import Options, plot
from muster.plots.data import PlotData
from muster.plots.rows import Prediction, fit_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("exponent_trend", "exponent_difference")


class ExponentOptions(Options):
    """Options of `exponent_trend`."""

    label: str = Field("exponent (dimensionless)", description="Label of the y-axis with its unit")
    predicted: tuple[float, float] = Field(
        (1.0, 0.0), description="Slope and intercept of the dashed line; (1, 0) where the expression is the prediction"
    )
    x_label: str | None = Field(None, description="Label of the x-axis with its unit; the expression if absent")


def _shows(data: PlotData, spec: FigureConfig, options: ExponentOptions) -> str:
    fit = fit_of(data, spec)
    across = _x_label(options, fit) if fit is not None and fit.estimator in KINDS else "its prediction"
    return f"{words.without_unit(options.label)} against {words.without_unit(across)}"


@plot("exponent_trend", ExponentOptions, _shows)
def exponent_trend(data: PlotData, spec: FigureConfig, options: ExponentOptions) -> Figure:
    """Measured exponents with 95 % intervals against the expression that predicts them, or a's exponents against b's.

    For fits of `exponent_trend`, with the fitted line, and of `exponent_difference`. One panel per group. The dashed
    line is what is predicted, by default that the measured exponent equals its abscissa.
    """
    fit = fit_of(data, spec)
    if fit is None or fit.estimator not in KINDS:
        raise MusterError("fit", f"{spec.fit!r} compares no exponents", f"Name a fit of {' or '.join(KINDS)}")
    rows = data.fits
    if len(rows):
        rows = rows[(rows["fit"] == spec.fit) & rows["primary"].astype(bool)].drop_duplicates("group")
    shown = [(row, points) for _, row in rows.iterrows() if len(points := _points(row, fit.options))]
    if not shown:
        return layout.empty_figure("no exponent was estimated: see the notes of the fits")
    fig, axes = layout.panels(len(shown), min(len(shown), 3))
    looks = style.ordered(sorted({value for _, points in shown for value in points["across"]}))
    for ax, (row, points) in zip(axes, shown, strict=True):
        _draw(ax, points, row, looks, options.predicted)
        layout.panel_title(ax, words.phrase(json.loads(row["group"])), _note(data, spec, row))
    layout.outer_labels(axes, _x_label(options, fit), options.label)
    layout.legend(fig, _keys(layout.drawn_by_name(axes), fit.options["across"], looks))
    return fig


def _x_label(options: ExponentOptions, fit: FitConfig) -> str:
    if options.x_label:
        return options.x_label
    if fit.estimator == "exponent_difference":
        return "exponent of group a (dimensionless)"
    return _expression(fit.options)


def _points(row: pd.Series, options: dict[str, Any]) -> pd.DataFrame:
    """across, x, y and the half-widths of their 95 % intervals."""
    import pandas as pd
    from scipy.special import stdtrit

    record = json.loads(row["diagnostics"])
    if "pairs" in record:
        found = pd.DataFrame(record["pairs"])
        return (
            pd.DataFrame(
                {
                    "across": found["across"],
                    "x": found["estimate_a"],
                    "x_half": stdtrit(found["dof_a"], 0.975) * found["se_a"],
                    "y": found["estimate_b"],
                    "y_half": stdtrit(found["dof_b"], 0.975) * found["se_b"],
                }
            )
            if len(found)
            else found
        )
    found = pd.DataFrame(record.get("exponents", []))
    if found.empty:
        return found
    half = stdtrit(found["dof"], 0.975) * found["se"]
    return found.assign(x=found["predictor"], x_half=0.0, y=found["estimate"], y_half=half)


def _draw(
    ax: Axes, points: pd.DataFrame, row: pd.Series, looks: dict[Any, Any], predicted: tuple[float, float]
) -> None:
    import numpy as np

    ends = np.array([points["x"].min(), points["x"].max()])
    ends += np.array([-0.08, 0.08]) * np.ptp(ends)
    ax.plot(
        ends,
        predicted[0] * ends + predicted[1],
        color=style.INK,
        ls=(0, (4, 2.5)),
        lw=1.1,
        zorder=2.2,
        gid="prediction",
    )
    if row["parameter"] == "slope" and np.isfinite([row["estimate"], row["intercept"]]).all():
        ax.plot(
            ends, row["intercept"] + row["estimate"] * ends, color=style.CATEGORIES[0], lw=1.4, zorder=2.5, gid="fit"
        )
    for _, point in points.iterrows():
        draw_error_bars(
            ax,
            point["x"],
            point["y"],
            xerr=point["x_half"] or None,
            yerr=point["y_half"],
            fmt="o",
            color=looks[point["across"]],
            ms=4.5,
            elinewidth=1.2,
            capsize=2,
            zorder=3.5,
            gid="points",
        )


def _note(data: PlotData, spec: FigureConfig, row: pd.Series) -> str:
    group = json.loads(row["group"])
    name = "slope" if row["parameter"] == "slope" else "a − b"
    told = [
        power_law.predicted_text(Prediction(claim.predicted, claim.margin, claim.test))
        for claim in data.study.claims
        if claim.fit == spec.fit and claim.where == group and claim.parameter in (None, row["parameter"])
    ]
    return "; ".join([f"{name} {words.interval_text(row['estimate'], row['ci_low'], row['ci_high'])}", *told])


def _expression(options: dict[str, Any]) -> str:
    factor, power = options.get("factor", 1.0), options.get("power", 1.0)
    name = words.name_of(options["across"])
    sign = "\N{MINUS SIGN}" if factor < 0 else ""
    size = "" if abs(factor) == 1 else f"{abs(factor):g} "
    if power == -1:
        return f"{sign}{abs(factor):g} ∕ {name} (dimensionless)"
    raised = name if power == 1 else f"{name}^{power:g}"
    return f"{sign}{size}{raised} (dimensionless)"


def _keys(found: dict[str, Any], across: str, looks: dict[Any, Any]) -> list[Any]:
    entries = {
        "points": layout.line_key("exponent, 95 % interval", marker="o", lw=1.2),
        "fit": layout.line_key("fitted line", style.CATEGORIES[0]),
        "prediction": layout.line_key("prediction", style.INK, ls=(0, (4, 2.5)), lw=1.1),
    }
    keys = [layout.line_key(words.label(across), "none")]
    keys += [layout.line_key(f"{value:g}", color, marker="o", lw=0) for value, color in looks.items()]
    return keys + [entry for name, entry in entries.items() if name in found]
