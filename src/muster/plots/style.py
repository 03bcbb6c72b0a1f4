"""The house style: colours, axes, labels and file output shared by all plots.

Colours are safe for the common forms of colour blindness: categories take the Okabe–Ito hues and differ in marker as
well; widths and steps are an ordered hue whose light end is cut off, so that every line stands out on white paper.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from muster.files import write_atomically
from muster.plots.frames import FACETS, Group, fastest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from muster.plots.base import PlotData

INK = "#1f2430"
MUTED = "#626a75"
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#a6761d")
MARKERS = ("o", "s", "D", "v", "P", "X")
PNG_DPI = 200
LEGEND = 1.75  # inches
WIDEST = 9.6  # inches

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "figure.titlesize": 9.5,
    "figure.titleweight": "bold",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a919c",
    "xtick.color": "#8a919c",
    "ytick.color": "#8a919c",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "svg.hashsalt": "muster",
    "svg.fonttype": "path",
    "axes.unicode_minus": True,
}

_LABELS = {
    "width": ("width", "units per layer"),
    "depth": ("depth", "layers or blocks"),
    "step": ("step", "updates"),
    "layer": ("layer", "index"),
    "batch_size": ("batch size", "examples"),
    "log2_lr": ("learning rate", ""),
    "log2_batch": ("batch size", "tokens"),
    "parameters": ("parameters N", "count"),
    "millions": ("parameters N", "millions"),
    "tokens": ("training tokens D", "count"),
    "unique_tokens": ("unique tokens U", "count"),
    "flops": ("training compute C", "FLOP"),
    "streams": ("parallel streams P", "count"),
    "samples": ("samples", "count"),
    "size": ("model size N", "parameters"),
    "compute": ("training compute C", "FLOP"),
    "weight_variance": ("weight variance C_W", ""),
    "overtraining": ("tokens per parameter M", "count"),
    "error": ("downstream error", "share"),
    "final_train_loss": ("final training loss", ""),
    "final_eval_loss": ("final held-out loss", ""),
    "train_loss": ("training loss", ""),
    "eval_loss": ("held-out loss", ""),
    "activation_rms": ("RMS of preactivations", ""),
    "activation_change_rms": ("RMS change of preactivations", ""),
    "weight_change_term": ("RMS of ΔW·x", ""),
    "input_change_term": ("RMS of W₀·Δx", ""),
    "feature_change": ("relative feature change", ""),
    "linearization_distance": ("relative distance from linearization", ""),
    "block_linearization_distance": ("relative distance of a block from linearization", ""),
    "residual_rms": ("RMS of the residual stream", ""),
    "residual_change_rms": ("RMS change of the residual stream", ""),
    "final_residual_rms": ("RMS of the residual stream at its end", ""),
    "final_residual_change_rms": ("RMS change of the residual stream at its end", ""),
    "ntk_change": ("relative NTK change", ""),
    "ntk_entry": ("entry of the initial NTK", ""),
    "gradient_rms": ("RMS of gradients", "loss units"),
    "ks_limit": ("KS distance to U[0, 1], infinitely many factors", ""),
    "alignment": ("alignment exponent", ""),
    "eps_killed": ("share of |m̂| below ε", ""),
    "log_norm_mean": ("mean of log ‖z‖²", "nats"),
    "log_norm_var": ("variance of log ‖z‖²", "nats²"),
    "kurtosis_ratio": ("E z⁴ ∕ 3(E z²)²", ""),
    "norm_var_relative": ("Var S ∕ S²", ""),
    "examples": ("training examples", "count"),
    "features": ("input dimension", "features"),
    "kernel_exponent": ("kernel exponent α", ""),
    "decay": ("feature decay α", ""),
    "weight_decay": ("weight decay λ", ""),
    "reconstruction_error": ("mean ‖f − x‖²", ""),
    "squared_overlap": ("mean squared overlap of features", ""),
    "represented": ("share of features represented", ""),
    "ks_uniform": ("KS distance to U[0, 1]", ""),
    "lyapunov": ("Lyapunov exponent λᵢ", "nats per factor"),
}
_UNITS = {"cross_entropy": "nats per example", "squared_error": "mean squared error"}
_WORDS = {
    "sp": "SP",
    "ntp": "NTP",
    "mfp": "MFP",
    "mup": "μP",
    "depth_mup": "Depth-μP",
    "completep": "CompleteP",
    "sgd": "SGD",
    "momentum": "SGD + momentum",
    "adam": "Adam",
    "adamw": "AdamW",
    "adafactor": "Adafactor",
    "relu": "ReLU",
    "full_alignment": "full alignment",
    "no_alignment": "no alignment",
    "omega_out_1": "ω_out = 1",
    "constant": "constant rate",
    "global": "global rate",
    "inverse": "attention scale 1/d",
    "inverse_sqrt": "attention scale 1/√d",
    "umup": "u-μP",
}


@contextmanager
def paper() -> Iterator[None]:
    """The house style on top of matplotlib's own defaults, whatever the user's matplotlibrc says."""
    import matplotlib.style

    with matplotlib.style.context(["default", _RC]):
        yield


def save(fig: Figure, svg_path: Path | str, png_path: Path | str) -> None:
    """Write a figure as SVG and as PNG (200 dpi): complete files or none, and equal figures give equal bytes.

    The layout is settled once, so that both files show the same picture. The canvases are called themselves, because
    `savefig` draws a figure twice.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with paper():
        fig.draw_without_rendering()
        fig.set_layout_engine("none")
        svg = {"Date": None, "Creator": "muster"}
        write_atomically(Path(svg_path), lambda part: FigureCanvasSVG(fig).print_svg(part, metadata=svg))
        fig.set_dpi(PNG_DPI)
        png = {"Software": "muster"}
        write_atomically(Path(png_path), lambda part: FigureCanvasAgg(fig).print_png(part, metadata=png))


def ordered(values: Sequence[Any]) -> dict[Any, Any]:
    """An ordered hue per value, light for the smallest and dark for the largest, without viridis' yellow end."""
    import seaborn as sns

    shades = sns.color_palette("viridis", 256)
    if len(values) == 1:
        return {values[0]: shades[70]}
    return {value: shades[round(198 - 192 * i / (len(values) - 1))] for i, value in enumerate(values)}


def categories(values: Sequence[Any]) -> dict[Any, tuple[str, str]]:
    """A colour and a marker per unordered value."""
    return {value: (CATEGORIES[i % 6], MARKERS[i % 6]) for i, value in enumerate(values)}


def label(column: str, data: PlotData | None = None) -> str:
    """The axis label of a column or probe with its unit; a loss takes its unit from the study's settings."""
    name, unit = _LABELS.get(column, (column.replace("_", " "), ""))
    if column.endswith("_loss") and data is not None:
        settings = {"loss": _default_loss(data), **data.study.settings, **_scale_settings(data)}
        loss = str(settings["loss"])
        unit = _UNITS.get(loss, loss.replace("_", " "))
        if _reads_tokens(settings):
            unit = unit.replace("per example", "per token")
    return f"{name} ({unit or 'dimensionless'})"


def name_of(column: str) -> str:
    """A column or probe in words, without its unit."""
    return _LABELS.get(column, (column.replace("_", " "), ""))[0]


def _default_loss(data: PlotData) -> str:
    from muster.experiments import EXPERIMENTS

    fields = EXPERIMENTS[data.study.experiment].cell.model_fields
    if "loss" in fields:
        return str(fields["loss"].default)
    return "as published" if "sources" in fields else "unit of the objective"


def _scale_settings(data: PlotData) -> Mapping[str, Any]:
    scale = next((config for name, config in data.study.scales.items() if name == data.scale), None)
    return scale.settings if scale else {}


def _reads_tokens(settings: Mapping[str, Any]) -> bool:
    """Whether the study's losses are means over tokens."""
    from muster.data import DATASETS, dimensions

    name = str(settings.get("data"))
    return name in DATASETS and dimensions(name, settings.get("data_options")).task == "next_token"


def word(value: Any) -> str:
    """A value of an axis as readers write it."""
    if isinstance(value, float):
        return minus(f"{value:g}")
    text = " or ".join(map(str, value)) if isinstance(value, list) else str(value)
    return _WORDS.get(text, text.replace("_", " "))


def phrase(group: Mapping[str, Any]) -> str:
    """The name of a group: words stand alone, numbers take the name of their column, what is off a `no`."""
    first = [column for column in FACETS if column in group]
    chosen = {column: group[column] for column in [*first, *(column for column in group if column not in first)]}
    return " · ".join(_setting(column, value) for column, value in chosen.items())


def _setting(column: str, value: Any) -> str:
    if isinstance(value, str):
        return word(value)
    name = column.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {word(value)}"


def minus(text: str) -> str:
    return text.replace("-", "−")


def number(value: float, digits: int = 2) -> str:
    # Adding 0 turns a rounded −0.00 into 0.00.
    return minus(f"{round(value, digits) + 0.0:.{digits}f}") if math.isfinite(value) else "n/a"


def interval_text(estimate: float, low: float, high: float, least: int = 0) -> str:
    """`−0.96 [−1.10, −0.82]`, with as many decimals as the interval's width can bear, and no fewer than `least`."""
    if not math.isfinite(estimate):
        return "not estimated"
    spread = high - low
    digits = max(least, decimals(spread) if math.isfinite(spread) else 2)
    if not math.isfinite(spread):
        return f"{number(estimate, digits)} (no interval)"
    return f"{number(estimate, digits)} [{number(low, digits)}, {number(high, digits)}]"


def claimed_region(predicted: float, margin: float, test: str) -> tuple[float, float]:
    """The values that a claim allows, by the region of its test."""
    from muster.claims.tests import CLAIM_TESTS

    return CLAIM_TESTS[test](float(predicted), margin)


def claimed(predicted: float, margin: float, test: str) -> str:
    """What a claim allows in words: `0 ± 0.1`, `≤ −0.5`."""
    low, high = claimed_region(predicted, margin, test)
    if math.isinf(low):
        return minus(f"≤ {high:.3g}")
    if math.isinf(high):
        return minus(f"≥ {low:.3g}")
    return minus(f"{predicted:.3g} ± {margin:.3g}" if margin else f"{predicted:.3g}")


def decimals(spread: float) -> int:
    """Decimals that resolve a sixth of a spread or better: 2 for most exponents, never more than 4."""
    if spread <= 0:
        return 2
    return min(4, max(0 if spread > 40 else 1 if spread > 4 else 2, math.ceil(-math.log10(spread / 0.6)) + 1))


def panels(
    count: int,
    columns: int | None = None,
    size: tuple[float, float] = (2.7, 2.3),
    sharex: bool | Literal["row", "col"] = True,
    sharey: bool | Literal["row", "col"] = True,
    room: float = LEGEND,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `size` inches, row by row, and `room` inches at the right for the legend.

    Many columns get narrower panels, so that print at a page's width stays readable.
    """
    from matplotlib.figure import Figure

    across = columns or {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3, 9: 3}.get(count, 4)
    down = math.ceil(count / across)
    size = (3.6, 2.6) if count == 1 else size
    wide = min(size[0] * across, WIDEST - room)
    fig = Figure(figsize=(wide + room, size[1] * down + 0.55), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.03)  # type: ignore[union-attr,call-arg]
    grid = fig.subplots(down, across, squeeze=False, sharex=sharex, sharey=sharey, height_ratios=heights)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    for below in axes[max(0, count - across) : count]:
        below.tick_params(labelbottom=True)
    return fig, axes[:count]


def columns_for(found: Sequence[Group]) -> int | None:
    """Panels per row: one per value of the fastest column when the groups form a full table of at most four columns."""
    if not found or not found[0]:
        return None
    levels = len({group.get(fastest(found)) for group in found})
    return levels if 1 < levels <= 4 and len(found) % levels == 0 else None


def heading(fig: Figure, data: PlotData, title: str | None) -> None:
    """The figure's title: the study's unless given; a scale other than `paper` is named, an empty title left out."""
    text = title if title is not None else data.study.title
    if not text:
        return
    scale = f" — {data.scale} scale" if data.scale else ""
    per_line = int((fig.get_figwidth() - (LEGEND if fig.legends else 0.2)) * 72 / 6.3)
    fig.suptitle("\n".join(textwrap.wrap(text + scale, per_line)), x=0.01, ha="left")


def panel_title(ax: Axes, title: str, note: str = "") -> None:
    """A bold title at the left, and muted text between it and the panel, where it cannot hide data."""
    inches = _panel_inches(ax)
    lines = [part for line in note.splitlines() for part in wrap(line, int(inches * 72 / 3.6))]
    if lines:
        ax.annotate(
            "\n".join(lines),
            (0, 1),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            va="bottom",
            color=MUTED,
            fontsize=7,
            annotation_clip=False,
        )
    ax.set_title("\n".join(textwrap.wrap(title, int(inches * 72 / 5.3))), pad=5 + 9.5 * len(lines))


def _panel_inches(ax: Axes) -> float:
    """About the width of a panel: the layout, which knows it, is settled only when the figure is complete."""
    spec = ax.get_subplotspec()
    assert spec is not None
    fig = ax.get_figure(root=True)
    assert fig is not None
    return 0.95 * (fig.get_figwidth() - LEGEND - 0.4) / spec.get_gridspec().ncols


def say(ax: Axes, reason: str) -> None:
    """Fill a panel that has nothing to show with the reason."""
    ax.text(
        0.5,
        0.5,
        "\n".join(textwrap.wrap(reason, 26)),
        transform=ax.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=8,
        style="italic",
    )


def nothing(data: PlotData, title: str | None, reason: str) -> Figure:
    """A figure of one panel that says why there is nothing to draw."""
    fig, (ax,) = panels(1, size=(4.2, 1.6), room=0.4)
    say(ax, reason)
    bare(ax)
    heading(fig, data, title)
    return fig


def bare(ax: Axes) -> None:
    """Remove the ticks of a panel without data, whose numbers would mean nothing."""
    ax.grid(False)
    ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)


def outer_labels(axes: Sequence[Axes], x: str, y: str) -> None:
    """Axis labels at the left column and at the lowest panel of each column only."""
    lowest: dict[int, Axes] = {}
    for ax in axes:
        spec = ax.get_subplotspec()
        assert spec is not None
        lowest[spec.colspan.start] = ax
        if spec.colspan.start == 0:
            ax.set_ylabel(stacked(y, 34))
    for ax in lowest.values():
        ax.set_xlabel(x)


def legend(fig: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, outside them at the right."""
    fig.legend(
        handles=handles,
        loc="outside right upper",
        borderaxespad=0.2,
        handlelength=1.7,
        labelspacing=0.45,
        alignment="left",
    )


def octaves(axis: Any, low: float, high: float, most: int = 7) -> None:
    """Ticks at powers of two on an axis in log2 units: whole ones if two fit, never so many that they overlap."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    for step in (0.25, 0.5, 1, 2, 3, 4, 5, 10, 20, 50, 100, 1000):
        ticks = [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        whole_fits = math.floor(high + 1e-9) - math.ceil(low - 1e-9) >= 1
        if len(ticks) <= most and not (step < 1 and whole_fits):
            break
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_two(value)))


def power_of_two(exponent: float) -> str:
    text = f"{exponent:g}"
    return f"$2^{{{text}}}$"


def shape_axis(ax: Axes, values: Sequence[float], most: int = 6) -> None:
    """A log2 x-axis with a tick at each width (depth, batch size ...) that was run, thinned where they would crowd."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(values), max(values)
    if len(values) > most and any(value % 1 for value in values):  # measured, not chosen: long decimals
        log_x_axis(ax, low, high, most)
        return
    doublings = [value for value in values if math.log2(value / low) % 1 == 0]
    crowded = doublings if len(values) > most and len(doublings) > 2 else values
    most = most if high < 1e4 else 4  # powers of ten take more room
    apart = (high / low) ** (1 / most) * (1 - 1e-9)
    kept = [low]
    for value in sorted(crowded):
        if value >= kept[-1] * apart and value > kept[-1]:
            kept.append(value)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(kept))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimal(value)))
    pad = (high / low) ** 0.08 if high > low else 1.5
    ax.set_xlim(low / pad, high * pad)


def whole_numbers(ax: Axes) -> None:
    """Ticks of an x-axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def category_axis(ax: Axes, values: Sequence[float]) -> None:
    """An x-axis with one evenly spaced place per value, in order."""
    ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    ax.set_xlim(-0.6, len(values) - 0.4)
    ax.grid(False, axis="x")


def log_axis(ax: Axes, low: float, high: float, most: int = 5) -> None:
    """A log y-axis over [low, high] with ticks at 1, 2, 5 or whole decades: at least two, never crowded."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(FixedLocator(log_ticks(low, high, most)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: decimal(value)))


def log_x_axis(ax: Axes, low: float, high: float, most: int = 4) -> None:
    """A log x-axis around [low, high] with labels at few round numbers and none at the minor ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    pad = max(high / low, 1.5) ** 0.05
    ax.set_xscale("log")
    ax.set_xlim(low / pad, high * pad)
    ticks = log_ticks(low / pad, high * pad, most)
    ax.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / most)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: decimal(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers inside [low, high], both positive: whole decades if two fit, else 1-2-5, else evenly spaced."""
    from matplotlib.ticker import MaxNLocator

    decades = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    if len(decades) >= 3:
        return [10.0**k for k in list(decades)[:: math.ceil(len(decades) / most)]]
    span = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [d * 10.0**k for k in span for d in digits if low <= d * 10.0**k <= high]
        if 3 <= len(found) <= most + 1:
            return found
    return [value for value in MaxNLocator(most - 1).tick_values(low, high) if low <= value <= high]


def fit_log_axis(axes: Sequence[Axes]) -> None:
    """A shared log y-axis around all data of these panels."""
    import numpy as np

    ends = np.array([ax.dataLim.intervaly for ax in axes if ax.lines or ax.collections], float).ravel()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    low, high = (ends.min(), ends.max()) if len(ends) else (0.1, 1.0)
    pad = max(high / low, 1.5) ** 0.07
    for ax in axes:
        log_axis(ax, low / pad, high * pad)


def wrap(text: str, characters: int) -> list[str]:
    """Lines of at most so many visible characters: the marks of mathtext take no room."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and len(re.sub(r"[$^{}]", "", longer)) <= characters:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def stacked(text: str, characters: int) -> str:
    """A label on one line if it fits, else its unit on a second line, and longer names wrapped."""
    if len(text) <= characters:
        return text
    name, bracket, unit = text.partition(" (")
    return "\n".join([*textwrap.wrap(name, characters), *([f"({unit}"] if bracket else [])])


def decimal(value: float) -> str:
    """A tick label: plain numbers between 0.001 and 10,000, powers of ten beyond."""
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return minus(f"{value:.4g}")
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    lead = value / 10.0**exponent
    head = "" if abs(lead - 1) < 1e-6 else rf"{lead:.2g}\times"
    return f"${head}10^{{{exponent}}}$"


def drawn(axes: Sequence[Axes]) -> dict[str, Any]:
    """What was drawn, by the name (`gid`) that its artists carry, with one of them: what the legend must explain."""
    return {str(each.get_gid()): each for ax in axes for each in (*ax.lines, *ax.collections) if each.get_gid()}


def line_key(label: str, color: Any = MUTED, **how: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=label, **how)


def band_key(label: str, color: Any = MUTED, alpha: float = 0.2) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=color, alpha=alpha, edgecolor="none", label=label)
