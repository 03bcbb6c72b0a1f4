"""The house style: colours, markers, matplotlib's settings, and files.

Colours are safe for the common forms of colour blindness: categories take the Okabe–Ito hues and differ in marker as
well; widths and steps are an ordered hue whose light end is cut off, so that every line stands out on white paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1f2430"
MUTED = "#626a75"
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#a6761d")
MARKERS = ("o", "s", "D", "v", "P", "X")
PNG_DPI = 200
SMALL_DPI, SMALL_COLOURS = 144, 64
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
    "axes.formatter.useoffset": False,  # 1.0005, not 0.0005 and "+1" in a corner
    "text.parse_math": False,  # a `$` in a study's text is a `$`
}


@contextmanager
def paper() -> Iterator[None]:
    """The house style on top of matplotlib's own defaults, whatever the user's matplotlibrc says."""
    import matplotlib.style

    with matplotlib.style.context(["default", _RC]):
        yield


def save(fig: Figure, svg_path: Path | str, png_path: Path | str, tallest: float = math.inf) -> None:
    """Write a figure as SVG and as PNG (200 dpi): complete files or none, and equal figures give equal bytes.

    tallest: pixels that the PNG may be high, with fewer dpi if need be.

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
        fig.set_dpi(min(PNG_DPI, tallest / fig.get_figheight()))
        png = {"Software": "muster"}
        write_atomically(Path(png_path), lambda part: FigureCanvasAgg(fig).print_png(part, metadata=png))


def save_small(fig: Figure, png_path: Path) -> None:
    """Write a figure as a PNG for a repository: 144 dpi, 64 colours, a fifth of the bytes, and text as sharp.

    The colours cover those that occur, however few their pixels: a cut by the median took the one coloured line of a
    large figure for grey.
    """
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    drawn = BytesIO()
    with paper():
        fig.set_dpi(SMALL_DPI)
        FigureCanvasAgg(fig).print_png(drawn)

    def write(part: Path) -> None:
        with Image.open(drawn) as picture:
            colours = picture.convert("RGB")
            small = colours.quantize(SMALL_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            small.save(part, "PNG", optimize=True)

    write_atomically(png_path, write)


def ordered(values: Sequence[Any]) -> dict[Any, Any]:
    """An ordered hue per value, light for the smallest and dark for the largest, without viridis' yellow end."""
    import seaborn as sns

    shades = sns.color_palette("viridis", 256)
    if len(values) == 1:
        return {values[0]: shades[70]}
    return {value: shades[round(198 - 192 * i / (len(values) - 1))] for i, value in enumerate(values)}


def nested(index: int, count: int) -> float:
    """Size of the marks of one of `count` groups, 1 for the last: those drawn before stand out around those above them.

    Groups whose values agree would hide each other otherwise.
    """
    return 1 + min(0.25, 0.6 / max(count - 1, 1)) * (count - 1 - index)


def categories(values: Sequence[Any]) -> dict[Any, tuple[str, str]]:
    """A colour and a marker per value, no two alike: of more than six numbers shades in their order."""
    shades = dict(enumerate(CATEGORIES))
    if len(values) > len(CATEGORIES) and all(isinstance(value, int | float) for value in values):
        places = sorted(range(len(values)), key=lambda i: values[i])
        shades = ordered(places)
    count = len(shades)
    return {value: (shades[i % count], MARKERS[(i + i // count) % len(MARKERS)]) for i, value in enumerate(values)}
