"""Somebody's sweep, CSV or Parquet, becomes a run table: one row a run, every doubtful cell named or counted.

Rules. A column is found by its name, or by the last part of a dotted one (`lr` finds `config.lr`, `loss` finds
`summary/loss`). Where a run has several rows and there is a step, the last step at which a loss was logged counts. A
loss that is NaN, infinite or empty is a diverged run. Where there is a column `state`, a run that did not finish is
left out, unless its last loss is NaN or infinite: then it diverged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.tables.cells import Cells, find_column, parse_number, read_cells

RUN_STATES = {"finished", "crashed", "failed", "killed", "running", "pending", "preempting", "preempted"}
STEP_NAMES = ("_step", "step", "Step", "global_step", "trainer/global_step")
RUN_NAMES = ("run", "run_id", "Run ID", "ID", "id", "run_name", "Name", "name")
RESERVED = ("log2_lr", "diverged", "study")
SHOWN = 6  # entries of a list that a message shows


@dataclass(frozen=True)
class Columns:
    """What a sweep's columns are called: the hyperparameter x, the loss y, the axis `scale`, seed, and groups `by`."""

    x: str
    y: str
    scale: str
    seed: str | None = None
    by: tuple[str, ...] = ()
    select: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises MusterError when a column has two roles, or a name that the run table needs itself."""
        options = {"--x": self.x, "--y": self.y, "--scale": self.scale, "--seed": self.seed}
        roles = [(option, name) for option, name in options.items() if name] + [("--by", name) for name in self.by]
        seen: dict[str, str] = {}
        for option, name in roles:
            if name in seen:
                raise MusterError(option, f"{name!r} is {seen[name]} already", "Give every column one role")
            if option in ("--y", "--scale", "--by") and name in (*RESERVED, "seed"):
                raise MusterError(option, f"{name!r} is a name that muster needs itself", "Rename the column")
            seen[name] = option


class Sweep(NamedTuple):
    """Runs with columns `by` …, `scale`, seed, log2_lr (log2 of x), y, diverged; notes say what was left out or read
    how."""

    runs: pd.DataFrame
    notes: list[str]


def read_sweep(path: Path, columns: Columns) -> Sweep:
    """Read a sweep and check every cell that is used.

    Raises MusterError naming file, line, column and remedy: for a file that is no table, a column that is not there, a
    cell that is no number, a loss, learning rate or axis value ≤ 0, and for runs that nothing tells apart.
    """
    columns.check()
    raw = _select(read_cells(path), columns.select)
    header = {name: find_column(raw.cells.columns, name, path) for name in _asked(columns)}
    if len(set(header.values())) < len(header):
        raise MusterError(str(path), f"two names mean one column: {', '.join(header)}", "Give every column one role")
    notes = [f"{name} is read from column {found!r}" for name, found in header.items() if name != found]
    y = header[columns.y]
    raw, said = _finished(raw, y)
    notes += said
    numeric = [header[columns.scale], header[columns.x]]
    keys = [*(header[name] for name in columns.by), *numeric, *([header[columns.seed]] if columns.seed else [])]
    for name in keys:
        _require_cells(raw, name)
        raw.cells[name] = _positive(raw, name) if name in numeric else _labels(raw, name)
    raw, said = _last_steps(raw, y, keys)
    notes += said
    _require_distinct(raw, y, keys, columns)
    losses = _numbers(raw, y)
    wrong = np.flatnonzero(np.isfinite(losses) & (losses <= 0))
    if len(wrong):
        found = f"found {losses[wrong[0]]:g}"
        remedy = "The optimum is sought in ln(loss): give a loss that is positive, and lower where it is better"
        raise MusterError(raw.place(int(wrong[0]), y), found, remedy)
    runs = raw.cells[[header[name] for name in columns.by]].set_axis(list(columns.by), axis=1).infer_objects()
    runs[columns.scale] = raw.cells[header[columns.scale]].astype(float)
    runs["seed"] = raw.cells[header[columns.seed]].infer_objects() if columns.seed else 0
    runs["log2_lr"] = np.log2(raw.cells[header[columns.x]].astype(float))
    runs["diverged"] = ~np.isfinite(losses)
    runs[columns.y] = np.where(runs["diverged"], np.nan, losses)
    lost, gaps = int(runs["diverged"].sum()), _gaps(runs, [*columns.by, columns.scale])
    if lost:
        notes.append(f"{lost} of {len(runs)} runs have no finite loss and count as diverged")
    if gaps:
        notes.append(f"{gaps} pairs of seed and {columns.x} have no run: means over seeds are adjusted for that")
    return Sweep(runs.sort_values([*columns.by, columns.scale, "seed", "log2_lr"], ignore_index=True), notes)


def _gaps(runs: pd.DataFrame, shape: list[str]) -> int:
    """How many runs would complete the product of seeds and rates of every shape."""
    own = runs.groupby(shape)
    return int((own["seed"].nunique() * own["log2_lr"].nunique() - own.size()).sum())


def _asked(columns: Columns) -> list[str]:
    return [name for name in (columns.x, columns.y, columns.scale, columns.seed, *columns.by) if name]


def _select(raw: Cells, selection: Mapping[str, str]) -> Cells:
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


def _require_cells(raw: Cells, column: str) -> None:
    for row, cell in enumerate(raw.cells[column]):
        if cell is None:
            raise MusterError(raw.place(row, column), "the cell is empty", "Fill it, or --select rows that have it")


def _numbers(raw: Cells, column: str) -> np.ndarray:
    """A column as floats; an empty cell is NaN."""
    values = np.empty(len(raw.cells))
    for row, cell in enumerate(raw.cells[column]):
        number = math.nan if cell is None else parse_number(cell)
        if number is None:
            raise MusterError(raw.place(row, column), f"{cell!r} is no number", "Write a number there")
        values[row] = number
    return values


def _positive(raw: Cells, column: str) -> np.ndarray:
    values = _numbers(raw, column)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        remedy = "It must be a positive number, given as it is and not as a logarithm"
        raise MusterError(raw.place(int(wrong[0]), column), f"found {values[wrong[0]]:g}", remedy)
    return values


def _labels(raw: Cells, column: str) -> list[Any]:
    """Values of a column that tells groups or seeds apart: numbers if all are."""
    numbers = [parse_number(cell) for cell in raw.cells[column]]
    if any(number is None or not math.isfinite(number) for number in numbers):
        return [str(cell) for cell in raw.cells[column]]
    return [int(number) if number.is_integer() else number for number in numbers if number is not None]


def _short(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _first_of(names: Sequence[str], raw: Cells) -> str | None:
    return next((name for name in names if name in raw.cells.columns), None)


def _finished(raw: Cells, y: str) -> tuple[Cells, list[str]]:
    """Runs that finished, or that diverged before they could."""
    column = _first_of(("state", "State"), raw)
    if column is None or not {str(cell).lower() for cell in raw.cells[column]} <= RUN_STATES:
        return raw, []
    states = [str(cell).lower() for cell in raw.cells[column]]
    diverged = ~np.isfinite(_numbers(raw, y)) & ~raw.empty(y)
    keep = [state == "finished" or bool(lost) for state, lost in zip(states, diverged, strict=True)]
    left_out = [state for state, kept in zip(states, keep, strict=True) if not kept]
    if not left_out:
        return raw, []
    counts = ", ".join(f"{left_out.count(state)} {state}" for state in sorted(set(left_out)))
    if not any(keep):
        raise MusterError(f"{raw.path} column {column!r}", f"no run finished: {counts}", "Choose other rows")
    return raw.rows(np.flatnonzero(keep)), [f"left out, as their last loss is not a final one: {counts}"]


def _last_steps(raw: Cells, y: str, keys: list[str]) -> tuple[Cells, list[str]]:
    """Of a history, the last step of each run at which a loss was logged."""
    step, run = _first_of([name for name in STEP_NAMES if name not in (*keys, y)], raw), _first_of(RUN_NAMES, raw)
    unit = list(dict.fromkeys([*keys, *([run] if run else [])]))
    runs = list(raw.cells.groupby(unit, sort=False, dropna=False).indices.values())
    if step is None or len(runs) == len(raw.cells):
        return raw, []
    steps, logged = _numbers(raw, step), ~raw.empty(y)
    if any(len(set(steps[rows])) < len(rows) for rows in runs):
        return raw, []  # one step twice: these are several runs, not the history of one
    last = [max(rows, key=lambda row: (logged[row], steps[row])) for rows in runs]
    ends = sorted({steps[row] for row in last})
    between = f"step {ends[0]:g}" if len(ends) == 1 else f"steps {ends[0]:g} to {ends[-1]:g}"
    note = f"{len(raw.cells)} rows are the history of {len(runs)} runs; the last {step} with a loss counts: {between}"
    return raw.rows(sorted(last)), [note]


def _require_distinct(raw: Cells, y: str, keys: list[str], columns: Columns) -> None:
    repeated = raw.cells.duplicated(keys, keep=False).to_numpy()
    if not repeated.any():
        return
    first = int(np.flatnonzero(repeated)[0])
    same = (raw.cells[keys] == raw.cells.iloc[first][keys]).all(axis=1).to_numpy()
    rows = raw.rows(np.flatnonzero(same).tolist())
    shared = ", ".join(f"{key} {_short(raw.cells[key].iloc[first])}" for key in keys)
    differing = [
        name
        for name in raw.cells.columns
        if name not in (*keys, y) and not name.startswith("_") and rows.cells[name].nunique(dropna=False) > 1
    ]
    place = f"{raw.path} {' and '.join(rows.where[:3])}"
    if not differing:
        raise MusterError(place, f"{len(rows.cells)} runs share {shared}", "Keep one row a run")
    seed = next((name for name in differing if "seed" in name.lower()), None)
    advice = f"--seed {seed}" if seed and not columns.seed else f"--by {differing[0]}, or --select {differing[0]}=VALUE"
    found = f"{len(rows.cells)} runs share {shared}; they differ in {', '.join(differing[:SHOWN])}"
    raise MusterError(place, found, f"Tell them apart: {advice}")
