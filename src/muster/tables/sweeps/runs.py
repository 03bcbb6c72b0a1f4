"""Somebody's sweep becomes a run table: one row a run, every doubtful cell named or counted.

Rules. A column is found by its name, without a tracker's prefix, or by its last part (`lr` finds `config.lr`, `loss`
finds `summary/loss`). Where a run has several rows, the last step at which a loss was logged counts; a run whose rows
go on without one diverged, and one that ends far before the others of its shape is left out, as is one that did not
finish. A loss that is NaN, infinite or empty is a diverged run.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from muster.errors import Gathering, MusterError
from muster.tables.sweeps.cells import Cells, find_column, select_rows
from muster.tables.sweeps.checks import labels_of, positive_losses, positive_numbers, require_cells, snapped
from muster.tables.sweeps.histories import finished, last_rows, long_enough, run_column, step_column
from muster.tables.sweeps.others import Other, other_columns, told
from muster.tables.sweeps.readers import read_cells
from muster.tables.sweeps.repeated import pairing, seeds_of
from muster.tables.sweeps.roles import Columns, guessed, with_powers
from muster.tables.sweeps.vocabulary import higher_is_better


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
    cell that is no number, a loss, learning rate or axis value ≤ 0, and for runs that nothing tells apart. Mistakes of
    several columns are told together.
    """
    columns.check()
    raw, columns, notes = with_powers(select_rows(read_cells(source), columns.select), columns)
    columns, said = guessed(raw, columns)
    notes += said
    mistakes, header = Gathering(), dict[str, str]()
    for name in columns.asked():
        with mistakes:
            header[name] = find_column(raw.cells.columns, name, raw.path)
    mistakes.tell()
    if len(set(header.values())) < len(header):
        raise MusterError(raw.path, f"two names mean one column: {', '.join(header)}", "Give every column one role")
    notes += [f"{name} is read from column {found!r}" for name, found in header.items() if name != found]
    x, y, scale = (header[columns.named(role)] for role in ("x", "y", "scale"))
    notes += raw.decimal_commas((scale, x, y))
    labels = [header[name] for name in (*columns.by, *([columns.seed] if columns.seed else []))]
    shape = [*(header[name] for name in columns.by), scale]
    reduced = one_row_a_run(raw, columns, y, [*labels, scale, x], x, shape)
    raw, losses, notes = reduced.raw, reduced.losses, notes + reduced.notes
    for name in (x, scale, *(header[name] for name in columns.adjust)):
        with mistakes:
            require_cells(raw, name)
            raw.cells[name] = snapped(positive_numbers(raw, name) if name in (x, scale) else raw.numbers(name))
    for name in labels:
        with mistakes:
            require_cells(raw, name)
            raw.cells[name] = pd.Series(labels_of(raw, name), dtype=object)
    mistakes.tell()
    columns, seeds, said = seeds_of(raw, y, [*labels, scale, x], header, columns)
    notes += said
    why = "The optimum is sought in ln(loss): give a loss that is positive, and lower where it is better"
    positive_losses(raw, y, losses, why)
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
    notes += pairing(runs, [*columns.by, columns.named("scale")], columns.named("x"))
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
