"""One fitted power law in one panel: points with intervals, line, 95 % band, predicted slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from muster.plots import layout, style, words

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from muster.plots.rows import Prediction


BOUNDS = ("less", "greater")  # tests of claims that name a bound, not a value
LINES: dict[str, dict[str, Any]] = {
    "prediction": {"ls": (0, (4, 2.5)), "lw": 1.1},
    "bound": {"ls": (0, (1, 1.6)), "lw": 1.2},
}
LARGEST = 300.0  # natural logarithm at which a band without end is cut: axes need numbers beyond it


def as_is(values: np.ndarray) -> np.ndarray:
    return values


class Band(NamedTuple):
    """A line y(x) with its pointwise 95 % band, each an array over x, in natural units."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(x: np.ndarray, y: np.ndarray, fit: Mapping[Any, Any]) -> Band | None:
    """The fitted line of a row of `fits` over its points (x, y > 0), with the 95 % confidence band of its mean.

    The line is log y = intercept + estimate·log x (natural logs), through the points' centroid where the row holds no
    intercept. Half-width: t(0.975, dof)·sqrt(s²/n + se²·(log x − mean log x)²) with s² the residual variance about the
    line over dof, the textbook band of simple regression (Draper & Smith 1998, §1.4) with the row's own se and dof, so
    that the band and the printed interval agree for every variant. None without an estimate or below 2 points.
    """
    import numpy as np
    from scipy.special import stdtrit

    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    slope, se, dof = (float(fit.get(key, np.nan)) for key in ("estimate", "se", "dof"))
    if not np.isfinite(slope) or len(log_x) < 2:
        return None
    centre = log_x.mean()
    intercept = float(fit.get("intercept", np.nan))
    if not np.isfinite(intercept):
        intercept = log_y.mean() - slope * centre
    line_x = np.linspace(log_x.min(), log_x.max(), 41)
    line_y = intercept + slope * line_x
    half = np.full_like(line_x, np.nan)
    if np.isfinite(se) and dof > 0:
        scatter = np.sum((log_y - intercept - slope * log_x) ** 2) / dof
        half = stdtrit(dof, 0.975) * np.sqrt(scatter / len(log_x) + se**2 * (line_x - centre) ** 2)
    middle, low, high = (np.exp(np.clip(line_y + shift, -LARGEST, LARGEST)) for shift in (0.0, -half, half))
    return Band(np.exp(line_x), middle, low, high)


def draw_fit(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    fit: Mapping[Any, Any] | None,
    color: Any,
    show: Callable[[np.ndarray], np.ndarray] = as_is,
) -> None:
    """Draw the fitted line with its band; nothing without an estimate. `show` maps y to the axis (log2, say)."""
    import numpy as np
    from matplotlib.collections import PolyCollection

    line = band(x, y, fit) if fit is not None else None
    if line is None:
        return
    ax.plot(line.x, show(line.y), color=color, lw=1.4, zorder=2.5, gid="fit")
    if np.isfinite(line.low).all():
        # With few widths the band is wide: it is drawn, but must not press the data flat.
        edge = np.concatenate([show(line.low), show(line.high)[::-1]])
        outline = np.column_stack([np.concatenate([line.x, line.x[::-1]]), edge])
        filled = PolyCollection([outline], color=color, alpha=0.15, lw=0, zorder=1.5, gid="band")
        ax.add_collection(filled, autolim=False)


def draw_predictions(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    found: Sequence[Prediction],
    color: Any = style.INK,
    show: Callable[[np.ndarray], np.ndarray] = as_is,
) -> None:
    """Lines of the predicted slopes through the points' centroid: a prediction says nothing about the level.

    Dashed where a claim predicts a value, dotted where it names a bound alone: the end of the region that it asserts,
    margin included; a slope beyond it is no miss.
    """
    import numpy as np

    if not len(x):
        return
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    ends = np.array([log_x.min(), log_x.max()])
    for prediction in found:
        slope, gid = prediction.slope, "prediction"
        if prediction.test in BOUNDS:
            gid = "bound"
            slope = next(filter(math.isfinite, words.claimed_region(slope, prediction.margin, prediction.test)))
        level = log_y.mean() + slope * (ends - log_x.mean())
        ax.plot(np.exp(ends), show(np.exp(level)), color=color, zorder=2.2, gid=gid, **LINES[gid])


def beyond(ci_low: float, ci_high: float, along: str = "y") -> str:
    """Marker of an optimum that is not interior: a triangle to the open end of its interval, a ring if none is open."""
    if ci_high == math.inf:
        return ">" if along == "x" else "^"
    if ci_low == -math.inf:
        return "<" if along == "x" else "v"
    return "o"


def beyond_key(marker: str, color: Any = None) -> Any:
    """The legend's entry for such a marker."""
    text = "no interior optimum: best rate" if marker == "o" else "optimum beyond the grid: best rate"
    return layout.line_key(text, *([color] if color else []), marker=marker, ms=6, mfc="white", lw=0)


def least_squares(x: np.ndarray, y: np.ndarray) -> dict[str, float] | None:
    """Ordinary least squares of log y on log x with t(n − 2) intervals, as a row of `fits`; None below 3 points."""
    import numpy as np
    from scipy.special import stdtrit

    log_x, log_y, dof = np.log(x), np.log(y), len(x) - 2
    if dof < 1 or np.ptp(log_x) == 0:
        return None
    spread = log_x - log_x.mean()
    slope = float(spread @ log_y / (spread @ spread))
    intercept = float(log_y.mean() - slope * log_x.mean())
    rest = log_y - intercept - slope * log_x
    se = float(np.sqrt(rest @ rest / dof / (spread @ spread)))
    half = float(stdtrit(dof, 0.975)) * se
    return {
        "estimate": slope,
        "se": se,
        "dof": dof,
        "ci_low": slope - half,
        "ci_high": slope + half,
        "intercept": intercept,
    }


def slope_note(fit: Mapping[Any, Any] | None, found: Sequence[Prediction]) -> str:
    """`slope −0.96 [−1.10, −0.82]; predicted −1 ± 0.1`, or why there is no slope."""
    if fit is None:
        text = "no fit"
    else:
        text = "slope " + words.interval_text(fit["estimate"], fit["ci_low"], fit["ci_high"])
        if str(fit.get("status", "ok")) != "ok":
            text += f" ({words.word(fit['status'])})"
    told = [predicted_text(prediction) for prediction in found]
    return "; ".join([text, *told])


def predicted_text(prediction: Prediction) -> str:
    # No-break spaces keep the clause on one line.
    text = "predicted " + words.claim_text(prediction.slope, prediction.margin, prediction.test)
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def keys(
    found: Mapping[str, Any], points: str, at: str, color: Any = style.MUTED, dashes: Any = style.INK
) -> list[Any]:
    """Legend entries of the parts of a power law that were drawn; `points` explains those named `at`."""
    entries = {
        at: layout.line_key(points, color, marker="o", lw=1.2),
        "fit": layout.line_key("fitted power law", color),
        "band": layout.band_key("its 95 % band", color),
        "prediction": layout.line_key("predicted slope", dashes, **LINES["prediction"]),
        "bound": layout.line_key("claimed bound on the slope", dashes, **LINES["bound"]),
    }
    return [entry for name, entry in entries.items() if name in found]


def hue_keys(hue: str | None, looks: Mapping[Any, tuple[str, str]]) -> list[Any]:
    """Legend entries of an unordered hue, none without one."""
    if hue is None:
        return []
    return [layout.line_key(words.phrase({hue: value}), color, marker=m) for value, (color, m) in looks.items()]
