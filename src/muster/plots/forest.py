"""The ledger at a glance: every claim's estimate against its prediction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from muster.claims.page import MOST, selection, unrun
from muster.claims.tests import REFUTES_ONLY, test_parts
from muster.config.models import FigureConfig, FitConfig, StudyConfig
from muster.plots import layout, style, words
from muster.plots.base import Options, plot
from muster.plots.data import PlotData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """How a verdict is drawn: told apart by hue, by shape and by filling."""

    color: str
    marker: str
    filled: bool


VERDICTS = {
    "supported": Look("#0072b2", "o", True),
    "refuted": Look("#d55e00", "D", True),
    "inconclusive": Look("#6b7280", "s", False),
    "pre-asymptotic": Look("#6b7280", "^", False),
    "out of regime": Look("#8d94a0", "v", False),
    "no measurement": Look("#8d94a0", "", False),
    "not judged": Look("#8d94a0", "o", False),
    "not run": Look("#8d94a0", "", False),
}

# What an estimator's number is, hence which axis it shares.
KINDS = {
    "lr_transfer": "exponent",
    "lr_transfer_difference": "exponent",
    "lr_batch_surface": "exponent",
    "power_law": "exponent",
    "regression": "exponent",
    "slope_equality": "exponent",
    "closed_form": "log ratio",
    "ordering": "log ratio",
    "monotone": "log ratio",
    "regret": "log ratio",
}
EXPONENTS = ("exponent", "alpha", "beta", "compute_exponent", "tokens_exponent")  # parameters that are one
TEST_KINDS = {"closed_form": "log ratio", "ordering": "log ratio", "regret": "log ratio"}
AXES = {
    "exponent": "exponent (d ln y ∕ d ln x, dimensionless)",
    "log ratio": "log ratio (natural log, dimensionless; 0.01 ≈ 1 %)",
    "other": "measured value (dimensionless)",
}

# Inches.
ROW, HEADER, GAP, TOP, BOTTOM, MARGIN, INDENT = 0.23, 0.3, 0.58, 0.92, 0.62, 0.12, 0.1
AXIS, ESTIMATE, PREDICTED, VERDICT, PAD = 3.6, 1.8, 0.95, 1.2, 0.14


class ForestOptions(Options):
    """Options of `forest`."""

    group: Literal["paper", "study", "none"] = Field("paper", description="What the rows are grouped by")


@plot("forest", ForestOptions, shows=None)
def forest(data: PlotData, spec: FigureConfig, options: ForestOptions) -> Figure:
    """Ledger overview: every claim's estimate with 95 % interval against its prediction, by verdict.

    Exponents, log ratios and other quantities have an axis each. The shaded bar is what the claim allows: predicted
    value ± margin, or everything beyond the threshold of a one-sided claim.
    """
    return draw(data.claims, [data.study], data.scale, options)


def draw(ledger: pd.DataFrame, studies: Iterable[StudyConfig], scale: str, options: ForestOptions) -> Figure:
    """The forest plot of any ledger; `studies` tell what each claim's number is, else its test decides."""
    from matplotlib.figure import Figure

    title = "Published claims against measurements" if options.title is None else options.title
    # A test of several numbers at once has no axis: its statistic is not what any claim predicts.
    ledger = ledger[~ledger["test"].isin(REFUTES_ONLY)] if len(ledger) else ledger
    if ledger.empty:
        return _no_claims(title)
    kinds = claim_kinds(ledger, studies)
    sections = [(kind, ledger[kinds == kind]) for kind in AXES if (kinds == kind).any()]
    left = MARGIN + INDENT + max(1.5, *(layout.text_inches(str(name), 8) for name in ledger["claim"])) + PAD
    width = left + AXIS + PAD + ESTIMATE + PREDICTED + VERDICT + MARGIN
    heights = [_height(rows, options.group) for _, rows in sections]
    height = TOP + sum(heights) + GAP * (len(sections) - 1) + BOTTOM
    fig = Figure(figsize=(width, height))
    top = height - TOP
    for (kind, rows), tall in zip(sections, heights, strict=True):
        ax = fig.add_axes((left / width, (top - tall) / height, AXIS / width, tall / height))
        _section(ax, rows, kind, options.group, left, tall)
        top -= tall + GAP
    _columns(fig, left, height - TOP + 0.1)
    _title(fig, ledger, title, scale)
    return fig


def claim_kinds(ledger: pd.DataFrame, studies: Iterable[StudyConfig]) -> pd.Series:
    """`exponent`, `log ratio` or `other` per row, from the estimator of the claim's fit, else from the claim's test."""
    known = {
        (study.study, claim.claim): _kind(*measured_by(study.fits[claim.fit], claim.parameter))
        for study in studies
        for claim in study.claims
        if claim.fit in study.fits
    }
    return ledger.apply(
        lambda row: known.get((row["study"], row["claim"]), TEST_KINDS.get(test_parts(row["test"])[0], "exponent")),
        axis=1,
    )


def measured_by(fit: FitConfig, parameter: str | None) -> tuple[str, str | None]:
    """The estimator and the number that a claim means; where a fit averages another estimator's, that one's."""
    estimator, options = fit.estimator, fit.options
    while estimator == "pooled":
        estimator, parameter, options = options["estimator"], options.get("parameter"), options.get("options", {})
    return estimator, parameter


def _kind(estimator: str, parameter: str | None) -> str:
    """What a number is: by its estimator, else by its own name, or that of the estimator's first."""
    from muster.fitting.base import ESTIMATORS

    if estimator in KINDS:
        return KINDS[estimator]
    return "exponent" if (parameter or next(iter(ESTIMATORS[estimator].parameters), "")) in EXPONENTS else "other"


def _margin(row: Mapping[Any, Any]) -> float:
    margin = float(row["margin"])
    return margin if math.isfinite(margin) else 0.0


def _lines(rows: pd.DataFrame, group: str) -> list[tuple[str, Any]]:
    """Headers and claims in the order of the ledger, groups kept together."""
    lines: list[tuple[str, Any]] = []
    if group == "none":
        return [("claim", row) for row in rows.to_dict("records")]
    for name in rows[group].unique():
        lines.append(("header", str(name)))
        lines += [("claim", row) for row in rows[rows[group] == name].to_dict("records")]
    return lines


def _height(rows: pd.DataFrame, group: str) -> float:
    headers = 0 if group == "none" else rows[group].nunique()
    return ROW * len(rows) + HEADER * headers + 0.06


def _section(ax: Axes, rows: pd.DataFrame, kind: str, group: str, left: float, tall: float) -> None:
    """Draw the rows of one axis; y is measured in inches from the top of the section."""
    ax.set_ylim(tall, 0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(AXES[kind])
    ax.grid(False, axis="y")
    low, high = _range(rows)
    _scale(ax, rows, low, high, kind)
    low, high = ax.get_xlim()
    y, shaded = 0.03, False
    for what, content in _lines(rows, group):
        if what == "header":
            room = left + AXIS + ESTIMATE + PREDICTED + VERDICT - MARGIN
            ax.text(
                *(_across(MARGIN - left), y + HEADER - 0.09),
                _cut(content, room),
                transform=_mixed(ax),
                weight="bold",
                va="baseline",
                fontsize=8.5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
            y, shaded = y + HEADER, False
            continue
        if shaded:
            _stripe(ax, y, left)
        _claim(ax, content, y + ROW / 2, low, high, left)
        y, shaded = y + ROW, not shaded


def _across(inches: float) -> float:
    """Inches from the left end of the axis as a fraction of its length."""
    return inches / AXIS


def _mixed(ax: Axes) -> Any:
    return ax.get_yaxis_transform()


def _stripe(ax: Axes, y: float, left: float) -> None:
    from matplotlib.patches import Rectangle

    start, end = _across(MARGIN / 2 - left), _across(AXIS + PAD + ESTIMATE + PREDICTED + VERDICT + MARGIN / 2)
    ax.add_patch(
        Rectangle(
            (start, y), end - start, ROW, transform=_mixed(ax), facecolor="#f5f6f8", lw=0, zorder=0, clip_on=False
        )
    )


def _range(rows: pd.DataFrame) -> tuple[float, float]:
    """Axis limits that hold every estimate and prediction, and intervals as far as they do not dwarf these."""
    import numpy as np

    bounds = [
        end
        for row in rows.to_dict("records")
        for end in words.claimed_region(row["predicted"], _margin(row), row["test"])
        if math.isfinite(end)
    ]
    core = np.array([*bounds, *rows["estimate"], *rows["predicted"], 0.0], float)
    core = core[np.isfinite(core)]
    low, high = core.min(), core.max()
    reach = max(high - low, 1e-6)
    ends = rows[["ci_low", "ci_high"]].to_numpy(float)
    ends = ends[np.isfinite(ends)]
    low = min(low, max(ends.min(initial=low), low - 0.25 * reach))
    high = max(high, min(ends.max(initial=high), high + 0.25 * reach))
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _scale(ax: Axes, rows: pd.DataFrame, low: float, high: float, kind: str) -> None:
    """A linear axis; but for exponents a symmetric log one where margins would be invisible beside what is largest."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    margins = rows["margin"].astype(float)
    finest = margins[margins > 0].min() if (margins > 0).any() else math.inf
    largest = max(-low, high)
    if kind != "exponent" and finest * 60 < largest:
        decade = math.floor(math.log10(finest))
        linear = 10.0**decade if finest / 10.0**decade > 2 else 10.0 ** (decade - 1)
        linear = max(linear * 10, 1e-4) if finest / linear > 10 else linear
        ax.set_xscale("symlog", linthresh=linear, linscale=0.6)
        powers = [10.0**k for k in range(round(math.log10(linear)), math.floor(math.log10(largest)) + 1)]
        ticks = [-p for p in reversed(powers) if -p >= low] + [0.0] + [p for p in powers if p <= high]
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        low, high = low * (1.5 if low < -linear else 1), high * (1.5 if high > linear else 1)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    ax.set_xlim(low, high)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.tick_text(round(value, 10))))
    ax.axvline(0, color="#b9bec7", lw=0.8, zorder=0.5)


def _claim(ax: Axes, row: Mapping[Any, Any], y: float, low: float, high: float, left: float) -> None:
    """One claim: what it allows, the estimate with its interval, and the numbers at the right."""
    from matplotlib.patches import Rectangle

    look = VERDICTS.get(str(row["verdict"]), VERDICTS["not judged"])
    predicted = float(row["predicted"])
    start, end = (min(max(bound, low), high) for bound in words.claimed_region(predicted, _margin(row), row["test"]))
    ax.add_patch(
        Rectangle((start, y - 0.3 * ROW), end - start, 0.6 * ROW, facecolor="#c9d3e3", lw=0, zorder=1, gid="allowed")
    )
    ax.plot([predicted] * 2, [y - 0.36 * ROW, y + 0.36 * ROW], color="#3c4a63", lw=1.3, zorder=2, gid="predicted")
    _estimate(ax, row, y, low, high, look)

    def tell(inches: float, text: str, **how: Any) -> None:
        ax.text(_across(inches), y, text, transform=_mixed(ax), va="center_baseline", fontsize=8, **how)

    tell(MARGIN - left + INDENT, str(row["claim"]))
    tell(AXIS + PAD, _estimate_text(row))
    tell(AXIS + PAD + ESTIMATE, _predicted_text(row), color=style.MUTED)
    if look.marker:
        at = _across(AXIS + PAD + ESTIMATE + PREDICTED + 0.06)
        ax.plot(at, y, look.marker, transform=_mixed(ax), ms=5, clip_on=False, **_marker(look))
    tell(AXIS + PAD + ESTIMATE + PREDICTED + 0.18, str(row["verdict"]), color=look.color, weight="bold")


def _marker(look: Look) -> dict[str, Any]:
    return {
        "mfc": look.color if look.filled else "white",
        "mec": look.color if not look.filled else "white",
        "mew": 1.2,
    }


def _estimate(ax: Axes, row: Mapping[Any, Any], y: float, low: float, high: float, look: Look) -> None:
    estimate, ends = float(row["estimate"]), [float(row["ci_low"]), float(row["ci_high"])]
    if not math.isfinite(estimate) or not look.marker:
        return
    if all(map(math.isfinite, ends)):
        shown = [max(ends[0], low), min(ends[1], high)]
        ax.plot(shown, [y, y], color=look.color, lw=1.9, solid_capstyle="butt", zorder=3, gid="interval")
        for beyond, at, arrow in ((ends[0] < low, low, "<"), (ends[1] > high, high, ">")):
            if beyond:
                ax.plot(at, y, arrow, color=look.color, ms=4.5, mew=0, zorder=3, clip_on=False)
    inside = min(max(estimate, low), high)
    ax.plot(inside, y, look.marker, ms=6.4, zorder=4, clip_on=False, gid="estimate", **_marker(look))


def _estimate_text(row: Mapping[Any, Any]) -> str:
    if not math.isfinite(float(row["estimate"])):
        return "—"
    least = words.decimals_for(2 * _margin(row)) if _margin(row) else 0
    return words.interval_text(row["estimate"], row["ci_low"], row["ci_high"], least)


def _predicted_text(row: Mapping[Any, Any]) -> str:
    return words.claim_text(row["predicted"], _margin(row), row["test"])


def _columns(fig: Figure, left: float, y: float) -> None:
    """Headers of the columns."""
    width, height = fig.get_size_inches()
    places = {
        MARGIN + INDENT: "claim",
        left + AXIS + PAD: "estimate [95 % interval]",
        left + AXIS + PAD + ESTIMATE: "predicted",
        left + AXIS + PAD + ESTIMATE + PREDICTED: "verdict",
    }
    for x, text in places.items():
        fig.text(x / width, y / height, text, color=style.MUTED, fontsize=7.5, va="bottom")
    fig.legend(
        handles=[
            layout.band_key("allowed by the claim", "#c9d3e3", 1.0),
            layout.line_key("predicted", "#3c4a63", marker="|", ms=8, mew=1.4, lw=0),
            layout.line_key("estimate, 95 % interval", style.INK, marker="o", ms=4.5, lw=1.6),
        ],
        loc="lower left",
        bbox_to_anchor=((left - 0.1) / width, (y - 0.055) / height),
        ncols=3,
        handlelength=1.3,
        columnspacing=1.0,
        handletextpad=0.5,
        fontsize=7,
        borderaxespad=0.1,
    )


def _title(fig: Figure, ledger: pd.DataFrame, title: str, scale: str) -> None:
    width, height = fig.get_size_inches()
    counts = ledger["verdict"].value_counts()
    told = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts]
    papers = ledger["paper"].nunique()
    about = f"{len(ledger)} claims of {papers} paper{'s' if papers > 1 else ''}: {', '.join(told)}"
    fig.text(MARGIN / width, 1 - 0.26 / height, title, weight="bold", fontsize=11.5, va="center")
    text = about + (f" ({scale} scale)" if scale else "")
    fig.text(MARGIN / width, 1 - 0.49 / height, text, color=style.MUTED, fontsize=8.5, va="center")


def _cut(text: str, room: float) -> str:
    """The text, shortened with an ellipsis to fit `room` inches in the header's font."""
    while layout.text_inches(text, 8.5, "bold") > room:
        text = text[:-2].rstrip(" ,;:…") + "…"
    return text


def _no_claims(title: str) -> Figure:
    fig, (ax,) = layout.panels(1, size=(4.2, 1.6), room=0.4)
    layout.explain_empty(ax, "the ledger holds no claim")
    layout.hide_ticks(ax)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def overview(ledger: pd.DataFrame, studies: Sequence[StudyConfig] = (), scale: str = "") -> Figure:
    """The forest plot of the ledger's headline claims (all claims if none is): the product's headline figure.

    Claims whose studies were not run are left out where any was. More than fit a page are chosen without a look at what
    came out: see `muster.claims.page.selection`.
    """
    from muster.claims.ledger import is_headline, rows_of

    ran = ledger[[not unrun(row) for row in rows_of(ledger)]]
    ledger = ran if len(ran) else ledger
    headline = ledger[is_headline(ledger)]
    options: dict[str, str | None] = {"title": None}
    if 0 < len(headline) < len(ledger):
        options["title"] = "Headline claims against measurements"
    chosen = headline if len(headline) else ledger
    if len(chosen) > MOST:
        kept = {row["claim"] for row in selection(rows_of(ledger), {study.study: study.question for study in studies})}
        if kept:
            chosen = ledger[ledger["claim"].isin(kept)]
            options = {"title": "The first headline claim of each paper, questions in turn", "group": "none"}
    with style.paper():
        return draw(chosen, studies, scale, ForestOptions.model_validate(options))
