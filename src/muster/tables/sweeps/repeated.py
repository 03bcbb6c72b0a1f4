"""Runs that share rate, axis and groups: seeds, repetitions, or runs that nothing tells apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from muster.errors import MusterError
from muster.tables.sweeps.cells import SHOWN, Cells
from muster.tables.sweeps.checks import labels_of
from muster.tables.sweeps.roles import Columns
from muster.tables.sweeps.vocabulary import COUNTS, RUNS, SEEDS, find_word, is_measured


def seeds_of(
    raw: Cells, y: str, keys: list[str], header: Mapping[str, str], columns: Columns
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
    if columns.seed is None and _only_repeats(raw, y, keys):
        notes = [f"{int(repeated.sum())} runs share {_listed(keys)} with others: repetitions"]
        return columns, raw.cells.groupby(keys, sort=False).cumcount().to_numpy(), notes
    _refuse_repeated(raw, y, keys, columns)


def _only_repeats(raw: Cells, y: str, keys: list[str]) -> bool:
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


def pairing(runs: pd.DataFrame, shape: list[str], x: str) -> list[str]:
    """What is missing for every seed to be run at every rate, where seeds link rates at all."""
    own = runs.groupby(shape)
    full = own["seed"].nunique() * own["log2_lr"].nunique()
    gaps = int((full - own.size()).sum())
    if not gaps:
        return []
    if (own["seed"].nunique() == own.size()).all():
        return [f"every run has its own seed: runs of one {x} are replicates"]
    return [f"{gaps} pairs of seed and {x} have no run: means over seeds are adjusted for that"]


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
        raise MusterError(place, f"{len(rows.cells)} rows share {shared}", "Keep one row a run")
    seed = find_word(SEEDS, differing)
    set_ = next((name for name in differing if not is_measured(name)), differing[0])
    advice = f"--seed {seed}" if seed and not columns.seed else f"--by {set_}, or --select {set_}=VALUE"
    history = find_word(COUNTS, differing)
    if history and not columns.step:
        advice = f"--step {history} if they are one run's history; else {advice}"
    found = f"{len(rows.cells)} rows share {shared}; they differ in {', '.join(differing[:SHOWN])}"
    raise MusterError(place, found, f"Tell them apart: {advice}")
