"""`muster fit-table`: somebody's runs, of any program, as `muster.api.fit_table` and `muster.api.law` read them."""

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from muster.errors import Gathering, MusterError

if TYPE_CHECKING:
    from muster.api.result import Result

OF_SWEEPS = ("x", "scale", "seed", "adjust", "maximize", "margin")
OF_LAWS = ("n", "d", "column", "hold_out", "clusters", "independent")
MARGIN = 0.1  # |exponent| that still counts as transfer


def fit_table(args: Namespace) -> int:
    """Fit a table of runs and print, or write, what it says about transfer, or about a law. Returns 2 after mistakes,
    each of which has its line."""
    try:
        found = _sweep(args) if args.law is None else _law(args)
    except MusterError as error:
        for mistake in error.mistakes:
            print(f"muster fit-table: {mistake}", file=sys.stderr)
        return 2
    if args.output:
        found.write(args.output)
    print(found.json() if args.json else found.summary())
    if args.output and not args.json:
        print(f"\ntables and figures: {args.output}")
    return 0


def _sweep(args: Namespace) -> "Result":
    from muster.api.sweeps import fit_table

    wrong = _misplaced(args, OF_LAWS, "it is an option of laws", "Add --law FORMULA")
    scale, at, select = args.scale, list[float](), dict[str, str]()
    with wrong:
        scale, at = _along(args.predict, args.scale)
    with wrong:
        select = _pairs(args.select, "--select")
    margin = MARGIN if args.margin is None else args.margin
    with wrong:
        if not margin > 0:
            raise MusterError("--margin", f"found {margin:g}", "No estimate lies within a margin of 0: give one > 0")
    wrong.tell()
    return fit_table(
        args.sweep,
        args.x,
        args.y,
        scale,
        seed=args.seed,
        by=_names(args.by),
        select=select,
        adjust=_names(args.adjust),
        maximize=args.maximize,
        margin=margin,
        predict=at,
        run=args.run,
        step=args.step,
        finished=_names(args.finished),
        any_end=args.any_end,
    )


def _law(args: Namespace) -> "Result":
    from muster.api.laws import law

    wrong = _misplaced(args, OF_SWEEPS, "it is an option of sweeps", "Leave it out, or --law")
    select, columns, predict = dict[str, str](), dict[str, str](), dict[str, list[float]]()
    with wrong:
        select = _pairs(args.select, "--select")
    with wrong:
        columns = _pairs(args.column, "--column", "name=column")
    with wrong:
        predict = _targets(args.predict, "N=VALUE,D=VALUE") if args.predict is not None else {}
    wrong.tell()
    return law(
        args.sweep,
        args.law,
        args.y,
        n=args.n,
        d=args.d,
        columns=columns,
        by=_names(args.by),
        select=select,
        clusters=False if args.independent else args.clusters,
        hold_out=args.hold_out,
        predict=predict or (),
        run=args.run,
        step=args.step,
        finished=_names(args.finished),
        any_end=args.any_end,
    )


def _misplaced(args: Namespace, options: Sequence[str], found: str, remedy: str) -> Gathering:
    """Options that say nothing here."""
    wrong = Gathering()
    for name in options:
        with wrong:
            if getattr(args, name) not in (None, False, []):
                raise MusterError(f"--{name.replace('_', '-')}", found, remedy)
    return wrong


def _names(texts: Sequence[str]) -> list[str]:
    """Names that stand apart, or joined by commas."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def _pairs(texts: Sequence[str], option: str, form: str = "column=value") -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    wrong = [text for text in texts if not text.partition("=")[1] or not text.partition("=")[0]]
    if wrong or len(pairs) < len(texts):
        raise MusterError(
            option, f"found {' '.join(wrong or texts)!r}", f"Write {form}, each {form.partition('=')[0]} once"
        )
    return pairs


def _along(text: str | None, scale: str | None) -> tuple[str | None, list[float]]:
    """The axis and the values at which to predict, from `width=4096,8192`; it names the axis where --scale does not."""
    if text is None:
        return scale, []
    named, sign, _ = text.partition("=")
    form = f"{scale or (named if sign else '') or 'width'}=VALUE"
    found = _targets(text, form)
    name = next(iter(found))
    if len(found) > 1 or (scale is not None and name != scale):
        raise MusterError("--predict", f"found {text!r}", f"Write {form}, a positive number")
    return name, found[name]


def _targets(text: str, form: str) -> dict[str, list[float]]:
    """Values by name, from `N=1e10,2e10,D=2e11`: a number without a name is a further value of the name before it."""
    found: dict[str, list[float]] = {}
    wrong = MusterError("--predict", f"found {text!r}", f"Write {form}, a positive number")
    name = ""
    for part in text.split(","):
        head, sign, value = part.rpartition("=")
        name = head.strip() if sign else name
        try:
            number = float(value)
        except ValueError:
            raise wrong from None
        if not name or (sign and name in found) or not math.isfinite(number) or number <= 0:
            raise wrong
        found.setdefault(name, []).append(number)
    return found
