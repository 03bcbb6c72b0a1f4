"""What a run comes to that has a row per step: its last logged loss, or why that is not a final one."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.tables.sweeps.cells import Cells, parse_number
from muster.tables.sweeps.vocabulary import (
    DONE,
    FINISHED,
    RUNS,
    STATES,
    STEPS,
    UNFINISHED,
    find_word,
    state_word,
)

SHORT = 0.75  # share of the longest run of a shape below which a run ended far before the others
SILENT = 1.5  # logging intervals without a loss after which a run logs none any more

Mask = NDArray[np.bool_]


class Reduced(NamedTuple):
    """One row a run: its cells, loss and last step (NaN without steps), and whether its rows went on without a loss."""

    raw: Cells
    losses: NDArray[np.float64]
    ends: NDArray[np.float64]
    silent: Mask
    notes: list[str]


def run_column(raw: Cells, chosen: str | None, keys: Sequence[str], x: str, step: str | None) -> str | None:
    """The column that names runs: the chosen one, else the first of the vocabulary's that does.

    It does if groups, seed and axis are the same in all its rows, and x too unless they are steps of one run: then x is
    a schedule. A column `run` that numbers repetitions, or a `name` of a model, does not.
    """
    if chosen:
        return chosen
    free = [name for name in raw.cells.columns if name not in (*keys, step)]
    while (found := find_word(RUNS, free)) is not None:
        free.remove(found)
        if raw.cells[found].notna().all():
            own = raw.cells.groupby(found, sort=False)
            varies = {key for key in keys if (own[key].nunique() > 1).any()}
            if not varies:
                return found
            if varies == {x} and step and _is_schedule(raw.cells, found, step, x):
                return found
    return None


def _is_schedule(cells: pd.DataFrame, run: str, step: str, x: str) -> bool:
    """Whether x changes from step to step, and not within one."""
    return bool((cells.groupby([run, step], sort=False)[x].nunique() <= 1).all())


def last_rows(raw: Cells, y: str, keys: list[str], run: str | None, step: str | None, shape: list[str]) -> Reduced:
    """One row a run. Rows of one step are merged; of a step that a resumed run logged twice the later row counts.

    keys: the columns of x, axis, seed and groups; shape: axis and groups. Raises MusterError where a key varies within
    a run, and where rows that nothing tells apart may be one run or several.
    """
    if run is not None:
        raw = _filled(raw, run, keys)
    unit = [run] if run is not None else keys
    number = raw.cells.groupby(unit, sort=False, dropna=False).ngroup().to_numpy(int)
    groups = np.split(np.argsort(number, kind="stable"), np.flatnonzero(np.diff(np.sort(number))) + 1)
    losses = raw.numbers(y)
    steps = raw.numbers(step) if step else np.full(len(losses), np.nan)
    if len(groups) == len(raw.cells):
        silent = np.zeros(len(losses), bool)
        return Reduced(raw, losses, steps, silent, [])
    if step is None or np.isnan(steps).all():
        if run is None:
            return Reduced(raw, losses, np.full(len(losses), np.nan), np.zeros(len(losses), bool), [])
        # Rows of a named run stand in the order of time.
        steps = raw.cells.groupby(unit, sort=False, dropna=False).cumcount().to_numpy(float)
    if not np.isfinite(steps).all():
        row = int(np.flatnonzero(~np.isfinite(steps))[0])
        found = "no step" if np.isnan(steps[row]) else f"found {steps[row]:g}"
        raise MusterError(raw.place(row, str(step)), found, "Give every row of a history its step, or --step COLUMN")
    logged = ~raw.empty(y)
    last: list[int] = []
    silent_after: list[float] = []
    for rows in groups:
        own = rows[logged[rows]]
        order = own[np.lexsort((own, steps[own]))]
        if run is None and _doubled(steps[own]):
            return Reduced(raw, losses, steps, np.zeros(len(losses), bool), [])  # several runs, not one's history
        if not len(own):
            last.append(int(rows[np.lexsort((rows, steps[rows]))][-1]))
            silent_after.append(-np.inf)
            continue
        last.append(int(order[-1]))
        gaps = np.diff(np.unique(steps[own]))
        gap = steps[rows].max() - steps[order[-1]]
        silent_after.append(steps[order[-1]] if gap > SILENT * (gaps.max() if len(gaps) else 0) and gap else np.inf)
    kept = raw.rows(last)
    ends = steps[last]
    # Silence is a blow-up only where others of the shape log on: a last stretch without a loss may be everybody's.
    latest = _of_shape(kept, shape, np.where(np.isneginf(silent_after), np.nan, ends))
    silent = np.array(silent_after) < latest
    name = step or "row"
    kind = next((word for word in ("epoch", "iteration", "row") if word in name), "step")
    between = f"{kind} {ends.min():g}" if ends.min() == ends.max() else f"{kind}s {ends.min():g} to {ends.max():g}"
    note = f"{len(raw.cells)} rows are the history of {len(groups)} runs; the last {name} with a loss counts: {between}"
    return Reduced(kept, losses[last], ends, silent, [note])


def _doubled(steps: NDArray[np.float64]) -> bool:
    return len(np.unique(steps)) < len(steps)


def _of_shape(raw: Cells, shape: list[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest of the values over the runs of each run's shape."""
    frame = raw.cells[shape].assign(value=values)
    return frame.groupby(shape, dropna=False, sort=False)["value"].transform("max").to_numpy(float)


def _filled(raw: Cells, run: str, keys: Sequence[str]) -> Cells:
    """Settings that stand in some rows of a run stand in all. Raises MusterError for one that varies within a run."""
    if raw.cells[run].is_unique:
        return raw
    cells = raw.cells
    for key in keys:
        own = cells.groupby(run, sort=False, dropna=False)[key]
        values = own.nunique()
        if (values > 1).any():
            name = values.index[(values > 1).to_numpy()][0]
            shown = ", ".join(str(value) for value in cells[cells[run] == name][key].dropna().unique()[:3])
            remedy = "Give the column of what was set, not of a schedule; or name the runs' column: --run COLUMN"
            raise MusterError(f"{raw.path} column {key!r}", f"it varies within {run} {name}: {shown}", remedy)
        if cells[key].isna().any():
            cells = cells.assign(**{key: own.transform("first")})
    return raw._replace(cells=cells)


def finished(
    raw: Cells, losses: NDArray[np.float64], empty: Mask, silent: Mask, taken: Sequence[str], more: Sequence[str]
) -> tuple[Mask, list[str]]:
    """Which runs count: those that finished or diverged. Notes count the others, and name unknown states.

    more: further words for finished. A column that holds no known word at all means something else.
    """
    free = [name for name in raw.cells.columns if name not in taken]
    column = find_word(STATES, free)
    everything = np.ones(len(losses), bool)
    if column is None:
        return _done(raw, find_word(DONE, free))
    states = ["" if cell is None else state_word(cell) for cell in raw.cells[column]]
    extra = {state_word(word) for word in more}
    known = FINISHED | UNFINISHED | extra
    if not known & set(states):
        words = ", ".join(sorted(set(states))[:3])
        return everything, [f"column {column!r} holds no known state ({words}): every run counts as finished"]
    diverged = silent | (~np.isfinite(losses) & ~empty)
    keep = np.array([state in FINISHED | extra for state in states]) | (
        diverged & np.array([state in UNFINISHED for state in states])
    )
    left_out = [state or "without a state" for state, kept in zip(states, keep, strict=True) if not kept]
    if not left_out:
        return keep, []
    unknown = sorted({state for state in left_out if state not in known and state != "without a state"})
    notes = [f"left out, as their last loss is not a final one: {counted(left_out)}"]
    if unknown:
        notes.append(f"no known state: {', '.join(unknown)} (--finished {unknown[0]} counts such runs)")
    if not keep.any():
        remedy = f"Choose other rows{f', or --finished {unknown[0]}' if unknown else ''}"
        raise MusterError(f"{raw.path} column {column!r}", f"no run finished: {counted(left_out)}", remedy)
    return keep, notes


def _done(raw: Cells, column: str | None) -> tuple[Mask, list[str]]:
    """By a column of true and false."""
    everything = np.ones(len(raw.cells), bool)
    if column is None:
        return everything, []
    words = [str(cell).lower() for cell in raw.cells[column]]
    if not set(words) <= {"true", "false"} or set(words) == {"false"}:
        return everything, []
    keep = np.array([word == "true" for word in words])
    lost = int((~keep).sum())
    return keep, [f"left out, as {column!r} is false: {lost} runs"] if lost else []


def long_enough(raw: Cells, ends: NDArray[np.float64], lost: Mask, shape: list[str], step: str) -> tuple[Mask, str]:
    """Which runs go as far as the others of their shape, diverged ones aside, and a note of those that do not."""
    longest = _of_shape(raw, shape, np.where(lost, np.nan, ends))
    keep = lost | ~(ends < SHORT * longest)
    if keep.all():
        return keep, ""
    short, most = ends[~keep], ends[keep & ~lost]
    at = f"{short.min():g}" if short.min() == short.max() else f"{short.min():g} to {short.max():g}"
    return keep, (
        f"left out, as they end at {step} {at} where others of their shape end at {most.max():g}: {len(short)} runs "
        "(--any-end counts them)"
    )


def counted(words: Sequence[Hashable]) -> str:
    """Words with their numbers: `12 failed, 1 stopped`."""
    return ", ".join(f"{number} {word}" for word, number in sorted(Counter(map(str, words)).items()))


def step_column(raw: Cells, chosen: str | None, taken: Sequence[str]) -> str | None:
    """The column of steps: the chosen one, else the finest of the vocabulary's that holds numbers."""
    if chosen:
        return chosen
    free = [name for name in raw.cells.columns if name not in taken]
    while (found := find_word(STEPS, free)) is not None:
        cells = [cell for cell in raw.cells[found] if cell is not None]
        if cells and all(parse_number(cell) is not None for cell in cells):
            return found
        free.remove(found)
    return None
