"""One study's cells become its three frozen tables."""

import json
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from muster.errors import MusterError
from muster.experiments import Outcome
from muster.plan import PlannedCell, StudyPlan
from muster.tables.io import check_table, check_unique, read_table, write_table, write_text
from muster.tables.schema import ROW_KEYS, Kind

KINDS: tuple[Kind, ...] = get_args(Kind)


def write_cell(outcome: Outcome, planned: PlannedCell, folder: Path, provenance: dict[str, Any]) -> None:
    """Write one cell's tables with its resolved settings and provenance beside them.

    `runs.parquet` comes last, so that a folder that holds it is complete. Raises MusterError naming the cell if a table
    breaks the schema or its members are not those of the cell.
    """
    tables = {kind: _check_cell(getattr(outcome, kind), kind, planned, str(folder)) for kind in KINDS}
    write_text(folder / "cell.json", json.dumps(json.loads(planned.text), indent=2, sort_keys=True) + "\n")
    write_text(folder / "provenance.json", json.dumps(provenance, indent=2, sort_keys=True) + "\n")
    for kind in reversed(KINDS):
        write_table(tables[kind], folder / f"{kind}.parquet", kind)


def collect(plan: StudyPlan, results: Path) -> dict[Kind, pd.DataFrame]:
    """Concatenate the tables of all cells of a study, with key columns, sorted by keys.

    Raises MusterError naming the cell whose table is missing or unreadable, lacks a member, repeats a key, or holds a
    NaN loss in a run that is not marked diverged.
    """
    tables: dict[Kind, pd.DataFrame] = {}
    for kind in KINDS:
        parts = []
        for planned in plan.cells:
            path = results / "runs" / planned.key / f"{kind}.parquet"
            if not path.exists():
                raise MusterError(str(path), "missing", f"Delete the folder {path.parent} and run again")
            part = _check_cell(read_table(path, kind), kind, planned, str(path))
            if len(part):
                parts.append(_with_keys(part, planned, plan))
        whole = pd.concat(parts, ignore_index=True) if parts else _empty(plan, kind)
        check_unique(whole, kind, plan.keys, f"study {plan.study.study}")
        tables[kind] = whole.sort_values([*plan.keys, *ROW_KEYS[kind]], ignore_index=True)
    return tables


def write_tables(tables: dict[Kind, pd.DataFrame], folder: Path) -> None:
    """Write a study's tables."""
    for kind, frame in tables.items():
        write_table(frame, folder / f"{kind}.parquet", kind)


def _check_cell(frame: pd.DataFrame, kind: Kind, planned: PlannedCell, place: str) -> pd.DataFrame:
    axes = list(type(planned.cell).member_axes)
    if len(frame) == 0 and kind != "runs":
        return frame
    missing = [axis for axis in axes if axis not in frame]
    if missing:
        raise MusterError(
            place, f"the {kind} table lacks the member axis {missing[0]}", "Mend the experiment that made it"
        )
    frame = check_table(frame, kind, place)
    check_unique(frame, kind, axes, place)
    if kind == "runs":
        _check_runs(frame, planned, place)
    return frame


def _check_runs(frame: pd.DataFrame, planned: PlannedCell, place: str) -> None:
    if len(frame) != planned.members:
        raise MusterError(place, f"{len(frame)} runs for {planned.members} members", "Delete the folder and run again")
    for axis in type(planned.cell).member_axes:
        absent = set(getattr(planned.cell, axis)) - set(frame[axis])
        if absent:
            raise MusterError(place, f"no run at {axis} = {sorted(absent)[0]}", "Delete the folder and run again")
    lost = frame["final_train_loss"].isna() & ~frame["diverged"] & (frame["steps"] > 0)
    if lost.any():
        found = f"{int(lost.sum())} runs have a NaN loss and are not marked diverged"
        raise MusterError(place, found, "Data or targets may hold NaN: check the data set")


def _with_keys(part: pd.DataFrame, planned: PlannedCell, plan: StudyPlan) -> pd.DataFrame:
    cell = planned.cell
    keys: dict[str, Any] = {"study": plan.study.study}
    for axis in plan.cell_axes:
        value = getattr(cell, axis)
        keys[axis] = (
            value if isinstance(value, (str, int, float)) or value is None else json.dumps(value, sort_keys=True)
        )
    values = [name for name in part if name not in plan.member_axes]
    return pd.concat(
        [pd.DataFrame(keys, index=part.index), part[[*plan.member_axes, *values]]],
        axis=1,
    )


def _empty(plan: StudyPlan, kind: Kind) -> pd.DataFrame:
    """A table without rows whose columns are those of a full one."""
    from muster.tables.schema import COLUMNS

    names = [*plan.keys, *COLUMNS[kind]]
    return pd.DataFrame(
        {name: pd.Series(dtype="float64" if name in plan.member_axes else "str") for name in names}
    ).astype({name: "str" if dtype == "string" else dtype for name, dtype in COLUMNS[kind].items()})
