"""Layout of a figure: the grid of panels, their titles and labels, the legend, what stands where there is no data."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from muster.plots import words
from muster.plots.rows import Group, column_of_panels
from muster.plots.style import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND = 1.75  # inches
KEY = 0.45  # inches of a legend beside its texts
WIDEST = 9.6  # inches
NOTE = "note"  # name of the muted text above a panel
LINE, NOTE_LINES = 9.5, 2  # points of one of its lines, lines for which every panel has room
TITLE_LINE, CONTEXT_LINE, KEY_LINE, KEY_PAD = 11.4, 9.0, 9.0, 3.4  # points of the lines of title, context and legend
KEY_CHARACTERS = 36  # of a line of the legend


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
    levels = len({group.get(column_of_panels(found)) for group in found})
    return levels if 1 < levels <= 4 and len(found) % levels == 0 else None


def outer_labels(axes: Sequence[Axes], x: str, y: str) -> None:
    """Axis labels at the left column and at the lowest panel of each column only."""
    lowest: dict[int, Axes] = {}
    for ax in axes:
        spec = ax.get_subplotspec()
        assert spec is not None
        lowest[spec.colspan.start] = ax
        if spec.colspan.start == 0:
            ax.set_ylabel(words.stacked_label(y, 34))
    for ax in lowest.values():
        ax.set_xlabel(x)


def heading(fig: Figure, title: str, context: str = "") -> None:
    """The figure's title at the left, and a muted line of context below it; nothing where the title is empty.

    Afterwards every text has the room that it needs: the figure is settled here.
    """
    _room_for_legend(fig)
    if title:
        _title(fig, title, context)
    height = fig.get_figheight()
    fig.set_figheight(height + _lines_of_notes(fig) * LINE / 72)
    _refit(fig)
    fig.set_figheight(height + _lines_of_notes(fig) * LINE / 72)


def _title(fig: Figure, title: str, context: str) -> None:
    from matplotlib.text import Annotation

    room = fig.get_figwidth() - 0.2 - _legend_inches(fig)
    titles = _lines(title, room, 9.5, "bold")
    below = _lines(context, room, 7.5)
    # The layout keeps room for the title alone: empty lines of its own size hold the place of the smaller context.
    spare = "\n" * math.ceil((len(below) * CONTEXT_LINE + 1.5) / TITLE_LINE)
    shown = fig.suptitle("\n".join(titles) + spare, x=0.01, ha="left")
    if below:
        look: dict[str, Any] = {"color": MUTED, "fontsize": 7.5, "va": "bottom", "ha": "left", "annotation_clip": False}
        beside = Annotation("\n".join(below), (0, 0), (0, 1), xycoords=shown, textcoords="offset points", **look)
        fig.add_artist(beside)
    further = TITLE_LINE * (len(titles) - 1) + CONTEXT_LINE * max(0, len(below) - 1)
    fig.set_figheight(fig.get_figheight() + further / 72)


def _legend_inches(fig: Figure) -> float:
    """Width of the legend beside the panels."""
    lines = [line for legend in fig.legends for text in legend.get_texts() for line in text.get_text().splitlines()]
    return KEY + max(map(text_inches, lines)) if lines else 0.0


def _room_for_legend(fig: Figure) -> None:
    """A figure as wide and as high as its legend needs: a long entry takes nothing from the panels, no entry is cut."""
    lines = [text.get_text().count("\n") + 1 for legend in fig.legends for text in legend.get_texts()]
    wider = max(0.0, _legend_inches(fig) - LEGEND) if lines else 0.0
    fig.set_figwidth(max(fig.get_figwidth(), min(fig.get_figwidth() + wider, WIDEST)))
    fig.set_figheight(max(fig.get_figheight(), (KEY_LINE * sum(lines) + KEY_PAD * len(lines)) / 72 + 0.15))


def _lines_of_notes(fig: Figure) -> int:
    """Lines of notes beyond the two that a panel has room for, summed over the rows of panels."""
    rows: dict[int, int] = {}
    for ax in fig.axes:
        if (spec := ax.get_subplotspec()) is not None:
            lines = sum(len(text.get_text().splitlines()) for text in _notes(ax))
            rows[spec.rowspan.start] = max(rows.get(spec.rowspan.start, 0), lines - NOTE_LINES)
    return sum(rows.values())


def _refit(fig: Figure) -> None:
    """Break titles, notes and labels anew to the panels' true size, and bring the titles of a row to one height."""
    panels = [ax for ax in fig.axes if ax.get_subplotspec() is not None]
    engine = fig.get_layout_engine()
    if not panels or engine is None:
        return
    engine.execute(fig)
    rows: dict[int, list[Axes]] = {}
    for ax in panels:
        width, height = ax.get_position().size * fig.get_size_inches()
        ax.set_xlabel(_within(ax.get_xlabel(), 0.95 * width))
        ax.set_ylabel(_within(ax.get_ylabel(), height))
    engine.execute(fig)
    for ax in panels:
        width = ax.get_position().width * fig.get_figwidth()
        panel_title(ax, _unbroken(ax.get_title(loc="left")), _told(ax), width)
        rows.setdefault(ax.get_subplotspec().rowspan.start, []).append(ax)  # type: ignore[union-attr]
    for row in rows.values():
        lines = [sum(len(note.get_text().splitlines()) for note in _notes(ax)) for ax in row]
        for ax, own in zip(row, lines, strict=True):
            for note in _notes(ax):
                note.xyann = (0, 3 + LINE * (max(lines) - own))
            ax.set_title(ax.get_title(loc="left"), pad=5 + LINE * max(lines))


def _within(label: str, inches: float) -> str:
    """An axis label whose lines are no longer than its axis; as it is where it has room."""
    if all(text_inches(line, 8) <= inches for line in label.splitlines()):
        return label
    return words.stacked_label(_unbroken(label), int(inches * 72 / 4.8))


def _unbroken(text: str) -> str:
    return " ".join(text.splitlines())


def _notes(ax: Axes) -> list[Any]:
    return [text for text in ax.texts if text.get_gid() == NOTE]


def _told(ax: Axes) -> str:
    """The note above a panel before it was broken into lines."""
    return "\n".join(str(note.get_label()) for note in _notes(ax))


def panel_title(ax: Axes, title: str, note: str = "", inches: float | None = None) -> None:
    """A bold title at the left, and muted text between it and the panel, where it cannot hide data.

    inches: width of the panel; about what it will be if absent.
    """
    inches = inches or panel_inches(ax)
    for old in _notes(ax):
        old.remove()
    lines = [part for line in note.splitlines() for part in _lines(line, inches, 7)]
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
            gid=NOTE,
            label=note,
        )
    ax.set_title("\n".join(_lines(title, inches, 8.5, "bold")), pad=5 + LINE * len(lines))


def add_note(ax: Axes, text: str) -> None:
    """One more clause in the muted text above a panel."""
    told = _told(ax)
    panel_title(ax, _unbroken(ax.get_title(loc="left")), f"{told}; {text}" if told else text)


def _lines(text: str, inches: float, size: float, weight: str = "normal") -> list[str]:
    """A text broken at its spaces into lines of at most so many inches; a longer word has a line of its own.

    A no-break space keeps a clause together, and no line begins with a number or a dot where there is room: `width 64`,
    `[−0.34, −0.19]`.
    """
    lines: list[str] = []
    parts = re.split(r"(?<=;) +| +(?![·(\[]*[−-]?\d|·)", " ".join(text.splitlines()).strip(" "))
    for part in [w for p in parts for w in (p.split(" ") if text_inches(p, size, weight) > inches else [p])]:
        longer = f"{lines[-1]} {part}" if lines else part
        if lines and text_inches(longer, size, weight) <= inches:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def panel_inches(ax: Axes) -> float:
    """About the width of a panel: the layout, which knows it, is settled only when the figure is complete."""
    spec = ax.get_subplotspec()
    assert spec is not None
    fig = ax.get_figure(root=True)
    assert fig is not None
    return 0.95 * (fig.get_figwidth() - LEGEND - 0.4) / spec.get_gridspec().ncols


def text_inches(text: str, size: float = 7.5, weight: str = "normal") -> float:
    """Width of a text in the house font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", weight=weight, size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72 if text else 0.0


def explain_empty(ax: Axes, reason: str) -> None:
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


def empty_figure(reason: str) -> Figure:
    """A figure of one panel that says why there is nothing to draw."""
    fig, (ax,) = panels(1, size=(4.2, 1.6), room=0.4)
    explain_empty(ax, reason)
    hide_ticks(ax)
    return fig


def hide_ticks(ax: Axes) -> None:
    """Remove the ticks of a panel without data, whose numbers would mean nothing."""
    ax.grid(False)
    ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)


def legend(fig: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, outside them at the right."""
    for handle in handles:
        handle.set_label("\n".join(words.wrap(str(handle.get_label()), KEY_CHARACTERS)))
    fig.legend(
        handles=handles,
        loc="outside right upper",
        borderaxespad=0.2,
        handlelength=1.7,
        labelspacing=0.45,
        alignment="left",
    )


def add_key(fig: Figure, handle: Any) -> None:
    """One more entry at the end of the legend."""
    for old in list(fig.legends):
        handles = [*old.legend_handles, handle]
        old.remove()
        legend(fig, handles)


def drawn_by_name(axes: Sequence[Axes]) -> dict[str, Any]:
    """What was drawn, by the name (`gid`) that its artists carry, with one of them: what the legend must explain."""
    return {
        str(each.get_gid()): each for ax in axes for each in (*ax.lines, *ax.collections, *ax.patches) if each.get_gid()
    }


def line_key(label: str, color: Any = MUTED, **how: Any) -> Any:
    """The legend's entry of a line or marker."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=_shown(label), **how)


def band_key(label: str, color: Any = MUTED, alpha: float = 0.2) -> Any:
    """The legend's entry of a filled region."""
    from matplotlib.patches import Patch

    return Patch(facecolor=color, alpha=alpha, edgecolor="none", label=_shown(label))


def _shown(label: str) -> str:
    """A legend leaves out what begins with an underscore: a space of no width before it keeps the entry."""
    return f"\N{ZERO WIDTH SPACE}{label}" if label.startswith("_") else label
