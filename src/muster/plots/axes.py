"""Axes: logarithmic and octave axes, ticks that have room, limits that hold every point, intervals and their arrows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from muster.plots import layout, words

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

APART = 0.07  # inches between the labels of two ticks
INTERVAL, BAND, CAP = "interval", "band", "cap"  # names of artists that may leave the axis
ARROW = "arrow"


def octaves(ax: Axes, along: str, low: float, high: float, most: int = 7) -> None:
    """Ticks at powers of two on an axis in log2 units: whole ones if two fit, never so many that they overlap."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    ticks: list[float] = []
    for step in (0.25, 0.5, 1, 2, 3, 4, 5, 10, 20, 50, 100, 1000):
        ticks = [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        whole_fits = math.floor(high + 1e-9) - math.ceil(low - 1e-9) >= 1
        fits = along == "y" or _fit(ax, [words.power_of_two(tick) for tick in ticks], ticks, low, high)
        if len(ticks) <= most and fits and not (step < 1 and whole_fits):
            break
    axis = ax.xaxis if along == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: words.power_of_two(value)))


def shape_axis(ax: Axes, values: Sequence[float], most: int = 6) -> None:
    """A log2 x-axis with a tick at each width (depth, batch size ...) that was run, thinned where they would crowd."""
    from matplotlib.ticker import FixedLocator, NullLocator

    values = [value for value in values if value > 0]  # others have no place on the axis: they are counted
    if not values:
        return
    low, high = min(values), max(values)
    if len(values) > most and any(value % 1 for value in values):  # measured, not chosen: long decimals
        log_x_axis(ax, low, high, most)
        return
    pad = (high / low) ** 0.08 if high > low else 1.5
    doublings = [value for value in values if math.log2(value / low) % 1 == 0]
    candidates = sorted(doublings if len(values) > most and len(doublings) > 2 else values)
    ax.set_xscale("log", base=2)
    ax.set_xlim(low / pad, high * pad)
    ax.xaxis.set_major_locator(FixedLocator(_with_room(ax, candidates, low / pad, high * pad)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(_plain_numbers())


def whole_numbers(ax: Axes) -> None:
    """Ticks of an x-axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def category_axis(ax: Axes, values: Sequence[float]) -> None:
    """An x-axis with one evenly spaced place per value, in order; values without room for a label go without."""
    low, high = -0.6, len(values) - 0.4
    labels = [f"{value:g}" for value in values]
    step = next(
        k for k in range(1, len(values) + 1) if _fit(ax, labels[::k], list(range(0, len(values), k)), low, high)
    )
    ax.set_xticks(range(len(values)), [text if i % step == 0 else "" for i, text in enumerate(labels)])
    ax.set_xlim(low, high)
    ax.grid(False, axis="x")


def log_axis(ax: Axes, low: float, high: float, most: int = 5) -> None:
    """A log y-axis over [low, high] with ticks at 1, 2, 5 or whole decades: at least two, never crowded."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(FixedLocator(log_ticks(low, high, most)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(_plain_numbers())


def log_x_axis(ax: Axes, low: float, high: float, most: int = 4) -> None:
    """A log x-axis around [low, high] with labels at few round numbers and none at the minor ticks."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    pad = max(high / low, 1.5) ** 0.05
    start, end = low / pad, high * pad
    ax.set_xscale("log")
    ax.set_xlim(start, end)
    ticks = log_ticks(start, end, most)
    positions = [math.log(tick) for tick in ticks]
    labels = [words.tick_text(tick) for tick in ticks]
    step = next(
        k
        for k in range(1, len(ticks) + 1)
        if _fit(ax, labels[::k], positions[::k], math.log(start), math.log(end)) or k == len(ticks)
    )
    ax.xaxis.set_major_locator(FixedLocator(ticks[::step]))
    ax.xaxis.set_major_formatter(_plain_numbers())
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
    """A shared log y-axis around all positive points of these panels, or around their curves where there are no points;
    none where nothing is positive.

    Curves and intervals widen it by a decade or by half its length, whichever is more: one that goes on, to zero
    perhaps, leaves at the edge instead of pressing the points flat.
    """
    import numpy as np

    points = _positive([part for ax in axes for part in points_of(ax)])
    others = _positive([part for ax in axes for part in _curves_of(ax)])
    known = points if len(points) else others
    if not len(known):
        return
    low, high = float(known.min()), float(known.max())
    reach = max(10.0, math.sqrt(high / low))
    if len(others):
        low = min(low, max(float(others.min()), low / reach))
        high = max(high, min(float(others.max()), high * reach))
    pad = max(high / low, 1.5) ** 0.07
    for ax in axes:
        log_axis(ax, float(np.nextafter(low / pad, 1)), high * pad)


def points_of(ax: Axes) -> Iterator[np.ndarray]:
    """[P, 2] x and y of every marker that stands at a place of the data: not of those tied to the panel's edge."""
    import numpy as np
    from matplotlib.collections import PathCollection

    for line in ax.lines:
        marked = line.get_marker() not in (None, "None", "", " ") and line.get_gid() != CAP
        if marked and line.get_transform() == ax.transData:
            shown: Any = line.get_markevery()
            yield _data_of(line)[slice(None) if shown is None else shown]
    for part in ax.collections:
        if isinstance(part, PathCollection) and part.get_offset_transform() == ax.transData:
            yield np.asarray(part.get_offsets(), float)


def _curves_of(ax: Axes) -> Iterator[np.ndarray]:
    """[P, 2] x and y of lines, intervals and ranges; bands of a fit, which may be far wider than the data, are left
    out.
    """
    import numpy as np
    from matplotlib.collections import PathCollection

    for line in ax.lines:
        if line.get_transform() == ax.transData and line.get_gid() != CAP:
            yield _data_of(line)
    for part in ax.collections:
        if not isinstance(part, PathCollection) and part.get_gid() != BAND:
            yield from (np.asarray(path.vertices, float) for path in part.get_paths())


def _data_of(line: Any) -> np.ndarray:
    """[P, 2] x and y of a line."""
    import numpy as np

    return np.column_stack([np.asarray(part, float) for part in line.get_data(orig=False)])


def _positive(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Positive finite y of arrays [P, 2]."""
    import numpy as np

    y = np.concatenate([part[:, 1] for part in parts]) if parts else np.empty(0)
    return y[np.isfinite(y) & (y > 0)]


def draw_interval(
    ax: Axes,
    at: float,
    value: float,
    ends: Sequence[float],
    window: Sequence[float],
    along: str,
    color: Any,
    gid: str = INTERVAL,
    width: float = 1.5,
) -> None:
    """An interval with caps around a value, along x or y; nothing where an end is unknown.

    An unbounded end is an arrow at the edge of the panel, without a line. The interval widens the limits of the axis
    no further than `window`; where it goes on, `show_what_is_cut` puts an arrow as well.
    """
    import numpy as np
    from matplotlib.lines import Line2D

    if any(map(math.isnan, ends)):
        return
    shown = [end if math.isfinite(end) else value for end in ends]
    turn = slice(None, None, 1 if along == "x" else -1)
    bar = Line2D(*[shown, [at, at]][turn], color=color, lw=width, zorder=3, gid=gid)
    ax.add_artist(bar)
    within = [min(max(end, window[0]), window[1]) for end in shown]
    ax.update_datalim(np.column_stack([within, [at, at]][turn]))
    for end, side in zip(ends, (0, 1), strict=True):
        if math.isfinite(end):
            cap: dict[str, Any] = {"marker": "|" if along == "x" else "_", "ms": 4 * width, "mew": 1.3, "gid": CAP}
            ax.add_artist(Line2D(*[[end], [at]][turn], ls="none", color=color, zorder=3, **cap))
        else:
            _arrow(ax, at, side, along, color, width)
    ax.autoscale_view()


def draw_error_bars(ax: Axes, *where: Any, **how: Any) -> None:
    """`Axes.errorbar` whose bars, unlike its points, may be cut at the edge of the panel."""
    _, caps, bars = ax.errorbar(*where, **how).lines
    for cap in caps:
        cap.set_gid(CAP)
    for bar in bars:
        bar.set_gid(INTERVAL)


def _arrow(ax: Axes, at: float, side: int, along: str, color: Any, width: float = 1.5) -> None:
    """A triangle at the panel's edge, whose limits may still change: it is placed in fractions of the panel."""
    from matplotlib.lines import Line2D
    from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP

    mark = {"x": (CARETLEFT, CARETRIGHT), "y": (CARETDOWN, CARETUP)}[along][side]
    place: Any = [[side], [at]] if along == "x" else [[at], [side]]
    across = ax.get_yaxis_transform() if along == "x" else ax.get_xaxis_transform()
    how: dict[str, Any] = {
        "marker": mark,
        "ls": "none",
        "ms": 4 * width,
        "mew": 0,
        "zorder": 3,
        "clip_on": False,
        "gid": ARROW,
    }
    ax.add_artist(Line2D(*place, color=color, transform=across, **how))


def show_what_is_cut(fig: Figure) -> None:
    """Mark intervals that leave a panel by arrows at its edge, and say how many points lie beyond it."""
    for ax in fig.axes:
        _mark_cut_intervals(ax)
    if any(part.get_gid() == ARROW for ax in fig.axes for part in ax.lines):
        layout.add_key(fig, layout.line_key("interval goes on, or has no end", marker="^", ms=6, mew=0, lw=0))
    for ax in fig.axes:
        if beyond := points_beyond(ax):
            layout.add_note(ax, f"{beyond} point{'s' if beyond > 1 else ''} beyond the axis")


def points_beyond(ax: Axes) -> int:
    """How many finite points of the data lie outside the limits of a panel."""
    import numpy as np

    low, high = (np.array(ends, float) for ends in zip(sorted(ax.get_xlim()), sorted(ax.get_ylim()), strict=True))
    slack = 1e-9 * np.maximum(np.abs(low), np.abs(high))
    count = 0
    for part in points_of(ax):
        if (known := part[np.isfinite(part).all(axis=1)]).size:
            count += int(((known < low - slack) | (known > high + slack)).any(axis=1).sum())
    return count


def _mark_cut_intervals(ax: Axes) -> None:
    import numpy as np
    from matplotlib.collections import LineCollection

    bars: list[tuple[Any, Any, float]] = [
        (_data_of(line), line.get_color(), line.get_linewidth()) for line in ax.lines if line.get_gid() == INTERVAL
    ]
    for part in ax.collections:
        if isinstance(part, LineCollection) and part.get_gid() == INTERVAL:
            color = part.get_color()[0]
            bars += [(np.asarray(segment, float), color, 1.5) for segment in part.get_segments()]
    for bar, color, width in bars:
        if not np.isfinite(bar).all() or not len(bar):
            continue
        along = "x" if bar[0, 1] == bar[-1, 1] else "y"
        ends, at = (bar[:, 0], bar[0, 1]) if along == "x" else (bar[:, 1], bar[0, 0])
        low, high = sorted(ax.get_xlim() if along == "x" else ax.get_ylim())
        slack = 1e-9 * max(abs(low), abs(high))
        for side, cut in enumerate((ends.min() < low - slack, ends.max() > high + slack)):
            if cut:
                _arrow(ax, float(at), side, along, color, width)


def _with_room(ax: Axes, values: Sequence[float], low: float, high: float) -> list[float]:
    """Of ascending values on a log axis the first and each later one whose label keeps clear of the one before."""
    scale = layout.panel_inches(ax) / math.log(high / low)
    labels = [layout.text_inches(words.tick_text(value)) / 2 for value in values]
    return [values[i] for i in _clear([(scale * math.log(v / low), h) for v, h in zip(values, labels, strict=True)])]


def _fit(ax: Axes, labels: Sequence[str], positions: Sequence[float], low: float, high: float) -> bool:
    """Whether labels at ascending positions of an x-axis over [low, high] keep clear of each other."""
    scale = layout.panel_inches(ax) / (high - low) if high > low else 0.0
    halves = [layout.text_inches(label) / 2 for label in labels]
    return _apart([(scale * at, half) for at, half in zip(positions, halves, strict=True)])


def keep_ticks_apart(fig: Figure) -> None:
    """Thin the ticks of x-axes whose labels touch now that the panels have their true widths.

    Of fixed ticks every second, third and so on while three are left, so that a ladder keeps its rungs; else those with
    room. Others become fewer.
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

    for ax in fig.axes:
        locator = ax.xaxis.get_major_locator()
        if isinstance(locator, MaxNLocator):
            for most in (7, 6, 5, 4, 3):
                if not _apart(_spots(ax)[1]):
                    locator.set_params(nbins=most)
        elif isinstance(locator, FixedLocator) and not isinstance(ax.xaxis.get_major_formatter(), FixedFormatter):
            ticks, spots = _spots(ax)
            steps = [range(0, len(ticks), k) for k in range(1, max(2, (len(ticks) + 1) // 2))]
            kept = next((step for step in steps if _apart([spots[i] for i in step])), None)
            ax.xaxis.set_major_locator(FixedLocator([ticks[i] for i in (_clear(spots) if kept is None else kept)]))


def _spots(ax: Axes) -> tuple[list[float], list[tuple[float, float]]]:
    """Ticks of an x-axis inside its limits; centre and half width of their labels in inches from its left end."""
    fig = ax.get_figure(root=True)
    assert fig is not None
    low, high = sorted(ax.get_xlim())
    ticks = [float(tick) for tick in ax.xaxis.get_major_locator()() if low <= tick <= high]
    width = ax.get_position().width * fig.get_figwidth()
    to_axes = ax.transData - ax.transAxes
    labels = ax.xaxis.get_major_formatter().format_ticks(ticks)
    places = [width * float(to_axes.transform((tick, 0.5))[0]) for tick in ticks]
    return ticks, [(at, layout.text_inches(text) / 2) for at, text in zip(places, labels, strict=True)]


def _apart(spots: Sequence[tuple[float, float]]) -> bool:
    """Whether labels, each by its centre and half its width in inches, keep clear of each other."""
    return all(b[0] - a[0] >= a[1] + b[1] + APART for a, b in pairwise(spots))


def _clear(spots: Sequence[tuple[float, float]]) -> list[int]:
    """The first label and each later one that keeps clear of the one before."""
    kept: list[int] = []
    for i, spot in enumerate(spots):
        if not kept or _apart([spots[kept[-1]], spot]):
            kept.append(i)
    return kept


def _plain_numbers() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: words.tick_text(value))
