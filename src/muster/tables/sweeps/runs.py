"""Somebody's sweep becomes a run table: one row a run, every doubtful cell named or counted.

Rules. A column is found by its name, without a tracker's prefix, or by its last part (`lr` finds `config.lr`, `loss`
finds `summary/loss`). Where a run has several rows, the last step at which a loss was logged counts; a run whose rows
go on without one diverged, and one that ends far before the others of its shape is left out, as is one that did not
finish. A loss that is NaN, infinite or empty is a diverged run.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.tables.sweeps.cells import Cells, find_column, parse_number
from muster.tables.sweeps.histories import finished, last_rows, long_enough, run_column, step_column
from muster.tables.sweeps.others import Other, other_columns, told
from muster.tables.sweeps.readers import read_cells
from muster.tables.sweeps.vocabulary import (
    LOSSES,
    RATES,
    RUNS,
    SEEDS,
    SIZES,
    find_word,
    higher_is_better,
    is_measured,
    last_part,
    of_settings,
    without_prefix,
)

RESERVED = ("log2_lr", "diverged", "study")
SHOWN = 6  # entries of a list that a message shows
EQUAL = 1e-6  # relative difference below which two rates are one, written by two programs


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

    def named(self, role: str) -> str:
        """A role's column, once it is known."""
        name = getattr(self, role)
        if name is None:
            raise ValueError(f"{role} is not known before the table is read")
        return str(name)


class Sweep(NamedTuple):
    """Runs with columns `by` …, `scale`, `adjust` …, seed, log2_lr (log2 of x), y, diverged.

    columns: all of them named. y holds 1/score where a score is maximized. notes: what was left out or read how.
    others: columns that vary and are not used.
    """

    runs: pd.DataFrame
    columns: Columns
    notes: list[str]
    others: list[Other]


def read_sweep(source: Path | str | pd.DataFrame, columns: Columns) -> Sweep:
    """Read a sweep and check every cell that is used.

    Raises MusterError naming file, line, column and remedy: for a file that is no table, a column that is not there, a
    cell that is no number, a loss, learning rate or axis value ≤ 0, and for runs that nothing tells apart.
    """
    columns.check()
    raw = select_rows(read_cells(source), columns.select)
    columns, notes = _guessed(raw, columns)
    header = {name: find_column(raw.cells.columns, name, raw.path) for name in _asked(columns)}
    if len(set(header.values())) < len(header):
        raise MusterError(raw.path, f"two names mean one column: {', '.join(header)}", "Give every column one role")
    notes += [f"{name} is read from column {found!r}" for name, found in header.items() if name != found]
    x, y, scale = (header[columns.named(role)] for role in ("x", "y", "scale"))
    labels = [header[name] for name in (*columns.by, *([columns.seed] if columns.seed else []))]
    shape = [*(header[name] for name in columns.by), scale]
    reduced = one_row_a_run(raw, columns, y, [*labels, scale, x], x, shape)
    raw, losses, notes = reduced.raw, reduced.losses, notes + reduced.notes
    for name in (x, scale, *(header[name] for name in columns.adjust)):
        require_cells(raw, name)
        raw.cells[name] = _snapped(positive_numbers(raw, name) if name in (x, scale) else raw.numbers(name))
    for name in labels:
        require_cells(raw, name)
        raw.cells[name] = pd.Series(labels_of(raw, name), dtype=object)
    columns, seeds, said = _seeds(raw, y, losses, [*labels, scale, x], header, columns)
    notes += said
    wrong = np.flatnonzero(np.isfinite(losses) & (losses <= 0))
    if len(wrong):
        found = f"found {losses[wrong[0]]:g}"
        remedy = "The optimum is sought in ln(loss): give a loss that is positive, and lower where it is better"
        raise MusterError(raw.place(int(wrong[0]), y), found, remedy)
    if columns.maximize:
        losses = 1 / losses
    runs = pd.DataFrame({name: raw.cells[header[name]].infer_objects() for name in columns.by})
    runs[columns.named("scale")] = raw.cells[scale].astype(float)
    for name in columns.adjust:
        runs[name] = raw.cells[header[name]].astype(float)
    runs["seed"] = seeds
    runs["log2_lr"] = np.log2(raw.cells[x].astype(float))
    runs["diverged"] = ~np.isfinite(losses)
    runs[columns.named("y")] = np.where(runs["diverged"], np.nan, losses)
    lost = int(runs["diverged"].sum())
    if lost:
        notes.append(f"{lost} of {len(runs)} runs have no finite loss and count as diverged")
    notes += _pairing(runs, [*columns.by, columns.named("scale")], columns.named("x"))
    if higher_is_better(y) and not columns.maximize:
        notes.append(f"{y!r} sounds like something to maximize, and is minimized here: --maximize")
    others = other_columns(raw, list(header.values()), scale)
    notes += told(others, columns.named("scale"))
    order = [*columns.by, columns.named("scale"), "seed", "log2_lr"]
    return Sweep(runs.sort_values(order, ignore_index=True), columns, notes, others)


class OneRowARun(NamedTuple):
    raw: Cells
    losses: np.ndarray
    notes: list[str]


def _guessed(raw: Cells, columns: Columns) -> tuple[Columns, list[str]]:
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
            known = ", ".join(names[: 2 * SHOWN]) + (" …" if len(names) > 2 * SHOWN else "")
            raise MusterError(raw.path, f"no column {words[0]!r}, nor another word for it", f"{option}. Known: {known}")
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


def one_row_a_run(raw: Cells, columns: Columns, y: str, keys: list[str], x: str, shape: list[str]) -> OneRowARun:
    """One row a run, of runs that finished or diverged."""
    step = step_column(raw, columns.step and find_column(raw.cells.columns, columns.step, raw.path), [*keys, y])
    chosen = columns.run and find_column(raw.cells.columns, columns.run, raw.path)
    run = run_column(raw, chosen, keys, x, step)
    raw, losses, ends, silent, notes = last_rows(raw, y, keys, run, step, shape)
    losses = np.where(silent, np.nan, losses)
    if silent.any():
        notes = [
            *notes,
            f"{int(silent.sum())} runs go on without a loss where others of their shape have one: diverged",
        ]
    keep, said = finished(raw, losses, raw.empty(y) & ~silent, silent, [*keys, y], columns.finished)
    notes += said
    raw, losses, ends = raw.rows(np.flatnonzero(keep)), losses[keep], ends[keep]
    if step and not columns.any_end and not np.isnan(ends).any():
        keep, note = long_enough(raw, ends, ~np.isfinite(losses), shape, step)
        raw, losses = raw.rows(np.flatnonzero(keep)), losses[keep]
        notes += [note] if note else []
    return OneRowARun(raw, losses, notes)


def _seeds(
    raw: Cells, y: str, losses: np.ndarray, keys: list[str], header: Mapping[str, str], columns: Columns
) -> tuple[Columns, Any, list[str]]:
    """The seed of each run. Runs that share everything are told apart by a column of seeds, or repeat each other."""
    repeated = raw.cells.duplicated(keys, keep=False).to_numpy()
    if columns.seed is None and repeated.any():
        seed = find_word(SEEDS, [name for name in raw.cells.columns if name not in header.values()])
        if seed is not None and not raw.cells[seed].isna().any() and not raw.cells.duplicated([*keys, seed]).any():
            raw.cells[seed] = pd.Series(labels_of(raw, seed), dtype=object)
            return replace(columns, seed=seed), raw.cells[seed].infer_objects(), [f"--seed is taken to be {seed!r}"]
    if not repeated.any():
        return columns, raw.cells[header[columns.seed]].infer_objects() if columns.seed else 0, []
    if columns.seed is None and _only_repeats(raw, y, losses, keys):
        notes = [f"{int(repeated.sum())} runs share {_listed(keys)} with others: repetitions"]
        return columns, raw.cells.groupby(keys, sort=False).cumcount().to_numpy(), notes
    _refuse_repeated(raw, y, keys, columns)


def _only_repeats(raw: Cells, y: str, losses: np.ndarray, keys: list[str]) -> bool:
    """Whether runs that share everything are named runs of one setting: nothing that was set differs."""
    run = find_word(RUNS, [name for name in raw.cells.columns if name not in (*keys, y)])
    if run is None or not raw.cells[run].is_unique:
        return False
    own = raw.cells.groupby(keys, sort=False)
    varying = [
        name
        for name in map(str, raw.cells)
        if name not in (*keys, y, run) and (own[name].nunique(dropna=False) > 1).any()
    ]
    return all(is_measured(name) or find_word(RUNS, [name]) for name in varying)


def _pairing(runs: pd.DataFrame, shape: list[str], x: str) -> list[str]:
    """What is missing for every seed to be run at every rate, where seeds link rates at all."""
    own = runs.groupby(shape)
    full = own["seed"].nunique() * own["log2_lr"].nunique()
    gaps = int((full - own.size()).sum())
    if not gaps:
        return []
    if (own["seed"].nunique() == own.size()).all():
        return [f"every run has its own seed: runs of one {x} are replicates"]
    return [f"{gaps} pairs of seed and {x} have no run: means over seeds are adjusted for that"]


def _asked(columns: Columns) -> list[str]:
    return [name for name in (columns.x, columns.y, columns.scale, columns.seed, *columns.by, *columns.adjust) if name]


def select_rows(raw: Cells, selection: Mapping[str, str]) -> Cells:
    """The rows whose cells are what is selected. Raises MusterError where no row is left."""
    for wanted, value in selection.items():
        column = find_column(raw.cells.columns, wanted, raw.path)
        cells = raw.cells[column].tolist()
        keep = [i for i, cell in enumerate(cells) if _same(cell, value)]
        if not keep:
            known = list(dict.fromkeys("" if cell is None else str(cell) for cell in cells))
            shown = ", ".join(known[:SHOWN]) + (" …" if len(known) > SHOWN else "")
            raise MusterError(f"{raw.path} --select {wanted}={value}", "no such row", f"{column} holds: {shown}")
        raw = raw.rows(keep)
    return raw


def _same(cell: Any, value: str) -> bool:
    if cell is None:
        return value == ""
    number, wanted = parse_number(cell), parse_number(value)
    return str(cell) == value or (number is not None and number == wanted)


def require_cells(raw: Cells, column: str) -> None:
    if raw.cells[column].isna().any():
        row = int(np.flatnonzero(raw.cells[column].isna())[0])
        raise MusterError(raw.place(row, column), "the cell is empty", "Fill it, or --select rows that have it")


def positive_numbers(raw: Cells, column: str) -> np.ndarray:
    values = raw.numbers(column)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        remedy = "It must be a positive number, given as it is and not as a logarithm"
        raise MusterError(raw.place(int(wrong[0]), column), f"found {values[wrong[0]]:g}", remedy)
    return values


def _snapped(values: np.ndarray) -> np.ndarray:
    """Values that differ by less than `EQUAL` become the first of them: a rate written by two programs is one rate."""
    known, inverse = np.unique(values, return_inverse=True)
    if len(known) < 2:
        return values
    apart = np.diff(known) > EQUAL * np.abs(known[1:])
    first = np.concatenate([[0], np.flatnonzero(apart) + 1])
    cluster = np.concatenate([[0], np.cumsum(apart)])
    return np.asarray(known[first][cluster][inverse])


def labels_of(raw: Cells, column: str) -> list[Any]:
    """Values of a column that tells groups or seeds apart: numbers if all are."""
    numbers = [parse_number(cell) for cell in raw.cells[column]]
    if any(number is None or not math.isfinite(number) for number in numbers):
        return [str(cell) for cell in raw.cells[column]]
    snapped = _snapped(np.array(numbers, float)).tolist()
    return [int(number) if number.is_integer() else number for number in snapped]


def _short(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _refuse_repeated(raw: Cells, y: str, keys: list[str], columns: Columns) -> NoReturn:
    repeated = raw.cells.duplicated(keys, keep=False).to_numpy()
    first = int(np.flatnonzero(repeated)[0])
    same = (raw.cells[keys] == raw.cells.iloc[first][keys]).all(axis=1).to_numpy()
    rows = raw.rows(np.flatnonzero(same).tolist())
    # In the order in which a reader names them: axis and rate, then groups.
    shared = ", ".join(f"{key} {_short(raw.cells[key].iloc[first])}" for key in keys)
    differing = [
        name
        for name in raw.cells.columns
        if name not in (*keys, y) and not name.startswith("_") and rows.cells[name].nunique(dropna=False) > 1
    ]
    place = f"{raw.path} {' and '.join(rows.where[:3])}"
    if not differing:
        raise MusterError(place, f"{len(rows.cells)} runs share {shared}", "Keep one row a run")
    seed = find_word(SEEDS, differing)
    set_ = next((name for name in differing if not is_measured(name)), differing[0])
    advice = f"--seed {seed}" if seed and not columns.seed else f"--by {set_}, or --select {set_}=VALUE"
    found = f"{len(rows.cells)} runs share {shared}; they differ in {', '.join(differing[:SHOWN])}"
    raise MusterError(place, found, f"Tell them apart: {advice}")
