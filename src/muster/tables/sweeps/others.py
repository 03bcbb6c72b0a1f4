"""Columns that vary and are not used: what a fit mixes without saying so, and what goes with the axis."""

from collections.abc import Sequence
from typing import NamedTuple

from muster.tables.sweeps.cells import Cells, is_empty, parse_number
from muster.tables.sweeps.vocabulary import (
    DONE,
    OF_SIZE,
    RUNS,
    SEEDS,
    STATES,
    STEPS,
    is_measured,
    last_part,
    plain_word,
    without_prefix,
)

_NO_SETTING = frozenset(map(plain_word, (*RUNS, *STEPS, *STATES, *DONE, *SEEDS)))


class Other(NamedTuple):
    """A column that nobody named. values: how many it takes. follows: it is a function of the axis."""

    column: str
    values: int
    follows: bool


def other_columns(raw: Cells, used: Sequence[str], scale: str) -> list[Other]:
    """Columns that were set, not measured, and take several values: those that follow the axis first.

    What follows from the axis as sizes do, such as the number of parameters from the width, is left out.
    """
    found = []
    for name in raw.cells.columns:
        word = plain_word(last_part(without_prefix(name)))
        numbers = all(parse_number(cell) is not None for cell in raw.cells[name] if not is_empty(cell))
        if name in used or is_measured(name, numbers) or word in _NO_SETTING or word.startswith("unnamed") or not word:
            continue
        cells = raw.cells[name].map(str)
        values = cells.nunique()
        if values < 2:
            continue
        follows = bool((cells.groupby(raw.cells[scale].to_numpy()).nunique() == 1).all())
        if not (follows and word in OF_SIZE):
            found.append(Other(str(name), int(values), follows))
    return sorted(found, key=lambda other: not other.follows)


def told(others: Sequence[Other], scale: str) -> list[str]:
    """The same in words, for a reader who has to decide what to do about it."""
    notes = [
        f"{other.column} follows {scale} ({other.values} values): the exponent is that of both together, "
        f"{scale} alone is not known"
        for other in others
        if other.follows
    ]
    free = [other for other in others if not other.follows]
    if free:
        listed = ", ".join(f"{other.column} ({other.values} values)" for other in free)
        notes.append(f"vary and are not used: {listed}; --by, --select or --adjust them")
    return notes
