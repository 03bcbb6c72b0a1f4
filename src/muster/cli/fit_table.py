"""`muster fit-table`: somebody's sweep, of any program, as `muster.api.fit_table` reads it."""

import math
from argparse import Namespace
from collections.abc import Sequence

from muster.api.sweeps import fit_table as fit
from muster.errors import MusterError


def fit_table(args: Namespace) -> None:
    """Fit a table of runs and print, or write, what it says about transfer."""
    scale, at = _targets(args.predict, args.scale)
    if not args.margin > 0:
        raise MusterError("--margin", f"found {args.margin:g}", "No estimate lies within a margin of 0: give one > 0")
    found = fit(
        args.sweep,
        args.x,
        args.y,
        scale,
        seed=args.seed,
        by=args.by,
        select=_pairs(args.select, "--select"),
        adjust=args.adjust,
        maximize=args.maximize,
        margin=args.margin,
        predict=at,
        run=args.run,
        step=args.step,
        finished=args.finished,
        any_end=args.any_end,
    )
    if args.output:
        found.write(args.output)
    print(found.json() if args.json else found.summary())
    if args.output and not args.json:
        print(f"\ntables and figures: {args.output}")


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    wrong = [text for text in texts if not text.partition("=")[1] or not text.partition("=")[0]]
    if wrong or len(pairs) < len(texts):
        raise MusterError(option, f"found {' '.join(wrong or texts)!r}", "Write column=value, each column once")
    return pairs


def _targets(text: str | None, scale: str | None) -> tuple[str | None, list[float]]:
    """The axis and the values at which to predict, from `width=4096,8192`; it names the axis where --scale does not."""
    if text is None:
        return scale, []
    name, _, values = text.partition("=")
    try:
        found = [float(value) for value in values.split(",")]
    except ValueError:
        found = []
    wrong = not found or not all(math.isfinite(value) and value > 0 for value in found)
    if wrong or not name or (scale is not None and name != scale):
        raise MusterError("--predict", f"found {text!r}", f"Write {scale or name or 'width'}=VALUE, a positive number")
    return name, found
