"""Somebody's table of runs as a law wants it: one row a run with its variables and loss, every doubtful cell named.

Which runs count is decided as for sweeps. Runs without a finite loss say nothing of a law: left out and counted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from muster.errors import Gathering, MusterError
from muster.tables.sweeps.cells import Cells, find_column, known_columns, select_rows
from muster.tables.sweeps.checks import labels_of, positive_losses, positive_numbers, require_cells
from muster.tables.sweeps.histories import run_column, step_column
from muster.tables.sweeps.readers import read_cells
from muster.tables.sweeps.roles import Columns
from muster.tables.sweeps.runs import one_row_a_run
from muster.tables.sweeps.vocabulary import LOSSES, PARAMETERS, RUNS, SEEDS, TOKENS, find_word, without_prefix

# Names that mean a column in every law, and the words by which it is found.
QUANTITIES = {"N": PARAMETERS, "D": TOKENS}
RUN = "run"  # the table's own column: where a row stands in the file


@dataclass(frozen=True)
class PointColumns:
    """What the columns of a law are called.

    names: those that stand in the law. needed: further columns. given: name → column, where they differ. y: the loss;
    None: the first word for it. clusters: column whose values depend on each other. signed: names that may be ≤ 0.
    select, run, step, finished, any_end: as in `Columns`.
    """

    names: tuple[str, ...]
    needed: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    y: str | None = None
    by: tuple[str, ...] = ()
    clusters: str | None = None
    signed: Collection[str] = ()
    select: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None
    step: str | None = None
    finished: tuple[str, ...] = ()
    any_end: bool = False


class FoundColumns(NamedTuple):
    """The columns that a file has for a law. variables: name in the law → column. others: what else was asked for, by
    name; `y` is the loss. Both lack what is not there."""

    raw: Cells
    asked: PointColumns
    variables: dict[str, str]
    others: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The names in the law that mean columns, whether these are there or not."""
        known = {*self.variables, *self.asked.given, *QUANTITIES}
        return [name for name in self.asked.names if name in known]


class Points(NamedTuple):
    """Runs with columns: each variable, `by` …, clusters, what else was needed, the response; `run`: where it stands.

    clusters: the column that was asked for, or that of runs whose rows are checkpoints. notes: what was left out or
    taken to be.
    """

    path: str
    table: pd.DataFrame
    variables: dict[str, str]
    response: str
    clusters: str | None
    notes: list[str]


def find_points(source: Path | str | pd.DataFrame, asked: PointColumns, wrong: Gathering) -> FoundColumns:
    """Read a table and find the columns of a law. Mistakes but for those of the file itself are gathered."""
    raw = read_cells(source)
    with wrong:
        raw = select_rows(raw, asked.select)
    variables = _variables(raw, asked, wrong)
    others: dict[str, str] = {}
    for name in (*asked.by, *([asked.clusters] if asked.clusters else []), *asked.needed):
        with wrong:
            others[name] = variables.get(name) or find_column(raw.cells.columns, name, raw.path)
    with wrong:
        others["y"] = _response(raw, asked.y, list(variables.values()))
    for column in dict.fromkeys(
        [*variables.values(), *(others[name] for name in ("y", *asked.needed) if name in others)]
    ):
        with wrong:
            raw.numbers(column)
    return FoundColumns(raw, asked, variables, others)


def _variables(raw: Cells, asked: PointColumns, wrong: Gathering) -> dict[str, str]:
    """Name → column, for names that are given one, that the table has, or that always mean one; others are
    parameters."""
    names = [str(name) for name in raw.cells.columns]
    plain = {without_prefix(name): name for name in reversed(names)} | {name: name for name in names}
    variables: dict[str, str] = {}
    for name, column in asked.given.items():
        with wrong:
            if asked.names and name not in asked.names:
                raise MusterError(
                    f"{name}={column}", f"the law has no {name!r}", f"Its names: {', '.join(asked.names)}"
                )
            variables[name] = find_column(names, column, raw.path)
    for name in asked.names:
        if name in asked.given:
            continue
        if name in plain:
            variables[name] = plain[name]
        elif name in QUANTITIES:
            with wrong:
                variables[name] = _quantity(raw, name, names)
    with wrong:
        if asked.names and not {*variables, *asked.given, *QUANTITIES} & set(asked.names):
            found = f"no name of the law is a column: {', '.join(asked.names)}"
            raise MusterError(raw.path, found, f"--column NAME=COLUMN. {known_columns(names)}")
    return variables


def _quantity(raw: Cells, name: str, names: Sequence[str]) -> str:
    column = find_word(QUANTITIES[name], names)
    if column is None:
        remedy = f"--{name.lower()} COLUMN. {known_columns(names)}"
        raise MusterError(raw.path, f"no column for the law's {name}", remedy)
    return column


def _response(raw: Cells, y: str | None, taken: Sequence[str]) -> str:
    names = [str(name) for name in raw.cells.columns]
    if y is not None:
        column = find_column(names, y, raw.path)
        if column in taken:
            raise MusterError(f"--y {y}", "it stands in the law", "Give the column that the law is of")
        return column
    found = find_word(LOSSES, [name for name in names if name not in taken])
    if found is None:
        raise MusterError(raw.path, "no column 'loss', nor another word for it", f"--y COLUMN. {known_columns(names)}")
    return found


def read_points(found: FoundColumns, wrong: Gathering) -> Points:
    """The runs of a law. Raises MusterError with all mistakes that were gathered, and those of cells."""
    wrong.tell()
    raw, asked, variables, others = found
    y = others["y"]
    notes = [f"{name} is column {column!r}" for name, column in variables.items() if name != column]
    notes += raw.decimal_commas(dict.fromkeys([*variables.values(), y]))
    notes += [f"--y is taken to be {y!r}"] if asked.y is None and y != LOSSES[0] else []
    keys = list(dict.fromkeys([*variables.values(), *(others[name] for name in asked.by)]))
    for column in dict.fromkeys([*variables.values(), *(others[name] for name in asked.needed)]):
        # As numbers, so that 1e9 and 1000000000 are one size; what is empty may be filled from the run's other rows.
        cells = [None if gone else x for x, gone in zip(raw.numbers(column), raw.empty(column), strict=True)]
        raw.cells[column] = pd.Series(cells, dtype=object)
    clusters = others[asked.clusters] if asked.clusters else None
    if clusters is None and (clusters := _checkpoints(raw, asked, keys, y)):
        notes.append(f"rows of one {clusters!r} are its checkpoints: they are resampled together")
        losses = raw.numbers(y)
    else:
        raw, losses, said = _one_row_a_run(raw, asked, y, keys)
        notes += said
    keep = np.isfinite(losses)
    if not keep.all():
        notes.append(f"{(~keep).sum()} of {len(keep)} runs have no finite loss and are left out")
    raw, losses = raw.rows(np.flatnonzero(keep)), losses[keep]
    if not len(losses):
        raise MusterError(f"{raw.path} column {y!r}", "no run has a finite loss", "Choose another with --y")
    table: dict[str, object] = {} if RUN in asked.names else {RUN: raw.where}
    for name, column in {**variables, **{name: others[name] for name in asked.needed}}.items():
        with wrong:
            require_cells(raw, column)
            signed = name in asked.signed or name not in variables
            table[name] = raw.numbers(column) if signed else positive_numbers(raw, column)
    for column in (*(others[name] for name in asked.by), *([clusters] if clusters else [])):
        with wrong:
            require_cells(raw, column)
            table[column] = labels_of(raw, column)
    with wrong:
        positive_losses(raw, y, losses, "A law is fitted to ln(loss): give a loss that is positive")
    with wrong:
        _no_row_twice(raw)
    wrong.tell()
    return Points(raw.path, pd.DataFrame(table | {y: losses}), variables, y, clusters, notes)


def _checkpoints(raw: Cells, asked: PointColumns, keys: Sequence[str], y: str) -> str | None:
    """The column of runs in whose rows a variable of the law goes on: each row is a point of its own."""
    run = asked.run or find_word(RUNS, [name for name in raw.cells.columns if name not in (*keys, y)])
    if run is None or (step_column(raw, asked.step, [*keys, y]) is None and not asked.run):
        return None
    run = find_column(raw.cells.columns, run, raw.path)
    own = raw.cells.groupby(run, sort=False)
    return run if any((own[key].nunique() > 1).any() for key in keys) and not raw.cells[run].is_unique else None


def _one_row_a_run(raw: Cells, asked: PointColumns, y: str, keys: list[str]) -> tuple[Cells, np.ndarray, list[str]]:
    """Histories end in their last loss; rows that may be one run's or several are asked about."""
    seed = find_word(SEEDS, [name for name in raw.cells.columns if name not in (*keys, y)])
    unit = [*keys, seed] if seed else keys
    columns = Columns(run=asked.run, step=asked.step, finished=asked.finished, any_end=asked.any_end)
    step = step_column(raw, asked.step and find_column(raw.cells.columns, asked.step, raw.path), [*unit, y])
    chosen = asked.run and find_column(raw.cells.columns, asked.run, raw.path)
    if step and run_column(raw, chosen, unit, "", step) is None:
        shared = raw.cells.duplicated(unit, keep=False)
        if (raw.cells[shared].groupby(unit, sort=False)[step].nunique() > 1).any():
            rows = raw.rows(np.flatnonzero(shared)[:2])
            found = f"rows share {', '.join(unit)} and differ in {step}: steps of one run, or runs"
            remedy = "--run COLUMN names the runs of a history; --select the rows that count"
            raise MusterError(f"{raw.path} {' and '.join(rows.where)}", found, remedy)
    reduced = one_row_a_run(raw, columns, y, unit, "", keys)
    return reduced.raw, reduced.losses, reduced.notes


def _no_row_twice(raw: Cells) -> None:
    twice = raw.cells.astype(str).duplicated(keep=False).to_numpy()
    if twice.any():
        cells = raw.cells.astype(str)
        first = int(np.flatnonzero(twice)[0])
        same = np.flatnonzero((cells == cells.iloc[first]).all(axis=1).to_numpy())
        places = " and ".join(raw.where[row] for row in same[:3])
        raise MusterError(f"{raw.path} {places}", "the same row", "Keep one row a run")
