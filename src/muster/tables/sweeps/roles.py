"""Which column of somebody's table plays which part: by name, or by the first word of the vocabulary for it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.tables.sweeps.cells import Cells, find_column, known_columns
from muster.tables.sweeps.vocabulary import (
    LOGARITHMS,
    LOSSES,
    RATES,
    SIZES,
    find_word,
    last_part,
    of_settings,
    plain_word,
    without_prefix,
)

RESERVED = ("log2_lr", "diverged", "study")


@dataclass(frozen=True)
class Columns:
    """What a sweep's columns are called: the hyperparameter x, the loss y, the axis `scale`, seed, and groups `by`.

    x, y or scale None: the first word of the vocabulary that the table has. select: column → value of the rows that are
    read. adjust: further hyperparameters, kept as columns. maximize: y is a score, higher is better. run, step: the
    columns of histories, if not the usual ones. finished: words for it. any_end: runs count wherever they end.
    """

    x: str | None = None
    y: str | None = None
    scale: str | None = None
    seed: str | None = None
    by: tuple[str, ...] = ()
    select: Mapping[str, str] = field(default_factory=dict)
    adjust: tuple[str, ...] = ()
    maximize: bool = False
    run: str | None = None
    step: str | None = None
    finished: tuple[str, ...] = ()
    any_end: bool = False

    def check(self) -> None:
        """Raises MusterError when a column has two roles, or a name that the run table needs itself."""
        options = {"--x": self.x, "--y": self.y, "--scale": self.scale, "--seed": self.seed}
        roles = [(option, name) for option, name in options.items() if name]
        roles += [(option, name) for option, names in (("--by", self.by), ("--adjust", self.adjust)) for name in names]
        seen: dict[str, str] = {}
        for option, name in roles:
            if name in seen:
                raise MusterError(option, f"{name!r} is {seen[name]} already", "Give every column one role")
            if option in ("--y", "--scale", "--by", "--adjust") and name in (*RESERVED, "seed"):
                raise MusterError(option, f"{name!r} is a name that muster needs itself", "Rename the column")
            seen[name] = option

    def asked(self) -> list[str]:
        """Every column that has a role, by the name that it was asked for."""
        roles = (self.x, self.y, self.scale, self.seed, *self.by, *self.adjust)
        return [name for name in roles if name]

    def named(self, role: str) -> str:
        """A role's column, once it is known."""
        name = getattr(self, role)
        if name is None:
            raise ValueError(f"{role} is not known before the table is read")
        return str(name)


def with_powers(raw: Cells, columns: Columns) -> tuple[Cells, Columns, list[str]]:
    """A table that holds the logarithm of x, with x beside it: `log2_lr` of -9 is an `lr` of 2⁻⁹.

    It holds one where --x names it, or where no column is a rate and one is a rate's logarithm.
    """
    names = [str(name) for name in raw.cells.columns]
    if columns.x is None and find_word(RATES, names):
        return raw, columns, []
    words = [f"{logarithm}_{word}" for word in RATES for logarithm in LOGARITHMS]
    column = find_word(words if columns.x is None else [columns.x], names)
    logarithm, _, x = plain_word(last_part(without_prefix(column or ""))).partition("_")
    if column is None or logarithm not in LOGARITHMS or not x or find_word([x], names):
        return raw, columns, []
    base = LOGARITHMS[logarithm]
    with np.errstate(over="ignore"):
        powers = np.power(base, raw.numbers(column))
    values = [None if empty else power for empty, power in zip(raw.empty(column), powers.tolist(), strict=True)]
    cells = raw.cells.drop(columns=column).assign(**{x: pd.Series(values, dtype=object)})
    return raw._replace(cells=cells), replace(columns, x=x), [f"{x} is {base:.6g} to the power of {column!r}"]


def guessed(raw: Cells, columns: Columns) -> tuple[Columns, list[str]]:
    """Roles that were left open, by the vocabulary. What a tracker keeps among the settings goes before a column of
    the same name: a logged rate follows its schedule."""
    names = [str(name) for name in raw.cells.columns]
    settings = [name for name in names if of_settings(name)]
    found: dict[str, str] = {}
    notes = []
    for role, words, among in (("x", RATES, settings), ("scale", SIZES, settings), ("y", LOSSES, names)):
        if getattr(columns, role):
            continue
        free = [name for name in among if name not in (columns.x, columns.y, columns.scale)]
        column = find_word(words, free) or find_word(words, names)
        if column is None:
            option = "--scale COLUMN names the axis" if role == "scale" else f"--{role} COLUMN"
            raise MusterError(
                raw.path, f"no column {words[0]!r}, nor another word for it", f"{option}. {known_columns(names)}"
            )
        found[role] = _short_name(column, names, raw.path)
        if found[role] == column and column != words[0]:
            notes.append(f"--{role} is taken to be {column!r}")
    columns = replace(
        columns,
        x=found.get("x", columns.x),
        y=found.get("y", columns.y),
        scale=found.get("scale", columns.scale),
    )
    columns.check()
    return columns, notes


def _short_name(column: str, names: list[str], path: str) -> str:
    """A column's name without prefixes, where that still finds it."""
    for short in (last_part(without_prefix(column)), without_prefix(column)):
        with suppress(MusterError):
            if short not in RESERVED and find_column(names, short, path) == column:
                return short
    return column
