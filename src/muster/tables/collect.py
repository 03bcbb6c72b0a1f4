"""One study's cells become its three frozen tables."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from muster.columns import COLUMNS, MISSING_FILE, PROVENANCE, ROW_KEYS, SOURCES_FILE, Kind
from muster.config.models import shared_folder
from muster.digests import sealed, unsealed
from muster.errors import DamagedError, MusterError
from muster.experiments import Outcome
from muster.files import SUMS, write_sums, write_text
from muster.plan.cells import PlannedCell
from muster.plan.study import StudyPlan
from muster.tables.io import check_table, check_unique, read_table, write_table
from muster.tables.missing import Missing, write_missing

KINDS: tuple[Kind, ...] = get_args(Kind)


def write_cell(outcome: Outcome, planned: PlannedCell, folder: Path, provenance: dict[str, Any]) -> None:
    """Write one cell's tables with its resolved settings and provenance beside them.

    `runs.parquet` comes last, so that a folder that holds it is complete. Raises MusterError naming the cell if a table
    breaks the schema or its members are not those of the cell.
    """
    lacking = "unavailable" in outcome.notes
    tables = {kind: _check_cell(getattr(outcome, kind), kind, planned, str(folder), lacking) for kind in KINDS}
    for left in folder.glob(".*.parquet.*"):  # by a job that was killed while it wrote
        left.unlink(missing_ok=True)
    resolved = {**json.loads(planned.text), "cell": planned.cell.model_dump(mode="json", exclude_none=True)}
    write_text(folder / "cell.json", json.dumps(resolved, indent=2, sort_keys=True) + "\n")
    write_provenance(provenance, folder)
    for kind in reversed(KINDS):
        write_table(tables[kind], folder / f"{kind}.parquet", kind)


def write_provenance(provenance: dict[str, Any], folder: Path) -> None:
    """Write what made a cell beside its tables."""
    write_text(folder / PROVENANCE, sealed(provenance))


def without_data(planned: PlannedCell, manifest: dict[str, Any]) -> Outcome:
    """Tables without rows of a cell whose data set could not be had, noting what its manifest says."""
    members = dict.fromkeys(type(planned.cell).member_axes, "float64")
    runs, curves, probes = (
        pd.DataFrame({name: pd.Series(dtype="str" if dtype == "string" else dtype) for name, dtype in columns.items()})
        for columns in (members | COLUMNS[kind] for kind in KINDS)
    )
    why = {name: manifest[name] for name in ("unavailable", "remedy")}
    return Outcome(runs, curves, probes, {"lacks": f"data set {manifest['name']}", **why})


def collect(plan: StudyPlan, results: Path) -> dict[Kind, pd.DataFrame]:
    """Concatenate the tables of all cells of a study, with key columns, sorted by keys.

    Raises MusterError naming the cell whose table lacks a member, repeats a key, or holds a NaN loss in a run that is
    not marked diverged; DamagedError naming all cells whose tables are missing or damaged.
    """
    tables: dict[Kind, pd.DataFrame] = {}
    damaged: dict[Path, DamagedError] = {}
    for kind in KINDS:
        parts = []
        for planned in plan.cells:
            path = results / "runs" / planned.key / f"{kind}.parquet"
            try:
                part = _read(path, kind)
                lacking = kind == "runs" and part.empty and "unavailable" in _notes(planned, results)
                part = _check_cell(part, kind, planned, str(path), lacking)
            except DamagedError as error:
                damaged.setdefault(path.parent, error)
                continue
            if len(part):
                parts.append(_with_keys(part, planned, plan))
        if damaged:
            continue
        whole = pd.concat(parts, ignore_index=True) if parts else _empty(plan, kind)
        if kind == "runs":  # one source may bring columns that another lacks, or be missing altogether
            whole = whole.reindex(columns=list(dict.fromkeys([*whole.columns, *_columns(plan, kind)])))
        check_unique(whole, kind, plan.keys, f"study {plan.study.study}")
        tables[kind] = whole.sort_values([*plan.keys, *ROW_KEYS[kind]], ignore_index=True)
    if damaged:
        first, more = next(iter(damaged.values())), len(damaged) - 1
        raise DamagedError(first.place, f"{first.found}{f' (and {more} more cells)' if more else ''}", *damaged)
    return tables


def _read(path: Path, kind: Kind) -> pd.DataFrame:
    """One table of a cell; a folder with a run table, which comes last, and without this one is damaged."""
    if not path.exists() and path.with_name("runs.parquet").exists():
        raise DamagedError(str(path), "missing", path.parent)
    return read_table(path, kind)


def collect_sources(plan: StudyPlan, results: Path) -> dict[str, Any] | None:
    """What the cells of a study of imported tables noted: source → file, checksum, rows, removed rows, documented
    facts; or why it is not available. None for a study that made its runs itself.
    """
    if plan.cells[0].stage != "import":
        return None
    sources: dict[str, Any] = {}
    for planned in plan.cells:
        notes = _notes(planned, results)
        if "source" not in notes:
            folder = results / "runs" / planned.key
            raise DamagedError(str(folder / PROVENANCE), "damaged (no source)", folder)
        sources[notes["source"]] = notes
    return sources


def collect_records(plan: StudyPlan, results: Path) -> list[dict[str, Any]]:
    """The provenance of a study's cells, of those that have a sound one."""
    records = []
    for planned in plan.cells:
        try:
            path = results / "runs" / planned.key / PROVENANCE
            records.append(unsealed(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            continue
    return records


def collect_missing(plan: StudyPlan, results: Path) -> list[Missing]:
    """The data sets and published tables that cells of a study could not have, from what these noted."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for planned in plan.cells:
        if planned.stage == "import" or planned.dataset:
            notes = _notes(planned, results)
            if "unavailable" in notes:
                missing = (notes["lacks"], notes["unavailable"], _remedy(notes, plan.study.study, results))
                found.setdefault(missing, []).append(_axis_values(planned, plan))
    return [Missing(*missing, cells) for missing, cells in found.items()]


def _remedy(notes: dict[str, Any], study: str, results: Path) -> str:
    if "remedy" in notes:
        return str(notes["remedy"])
    place = shared_folder(results) / "sources" / notes["file"]
    needs = notes.get("needs")
    again = f", then run again with {needs} in the environment" if needs else ""
    if notes["address"]:
        return f"run `{f'{needs} ' if needs else ''}muster fetch {study}`, or put {notes['address']} at {place}{again}"
    return f"put your table at {place}{again}"


def _notes(planned: PlannedCell, results: Path) -> dict[str, Any]:
    """What a cell's experiment noted about how its tables came about."""
    path = results / "runs" / planned.key / PROVENANCE
    try:
        return dict(unsealed(path.read_bytes()).get("notes", {}))
    except (OSError, ValueError, TypeError) as error:
        raise DamagedError(str(path), f"damaged ({error!r})", path.parent) from None


def write_tables(
    tables: dict[Kind, pd.DataFrame],
    folder: Path,
    sources: dict[str, Any] | None = None,
    missing: Sequence[Missing] = (),
) -> None:
    """Write a study's tables, what is known about published ones, and what they lack.

    The tables carry their checksums themselves; those of the other files stand beside them.
    """
    (folder / SUMS).unlink(missing_ok=True)
    write_missing(missing, folder)
    if sources is None:
        (folder / SOURCES_FILE).unlink(missing_ok=True)
    else:
        write_text(folder / SOURCES_FILE, json.dumps(sources, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    for kind, frame in tables.items():
        write_table(frame, folder / f"{kind}.parquet", kind)
    notes = [path for path in (folder / MISSING_FILE, folder / SOURCES_FILE) if path.exists()]
    if notes:
        write_sums(folder, {path.name: path.read_bytes() for path in notes})


def _check_cell(
    frame: pd.DataFrame, kind: Kind, planned: PlannedCell, place: str, lacking: bool = False
) -> pd.DataFrame:
    axes = [*type(planned.cell).member_axes, *planned.run_keys]
    if frame.empty and (kind != "runs" or planned.run_keys or lacking):
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
    if not planned.run_keys and len(frame) != planned.members:
        raise MusterError(place, f"{len(frame)} runs for {planned.members} members", "Delete the folder and run again")
    for axis in type(planned.cell).member_axes:
        absent = set(getattr(planned.cell, axis)) - set(frame[axis])
        if absent:
            raise MusterError(place, f"no run at {axis} = {sorted(absent)[0]}", "Delete the folder and run again")
    if planned.stage == "import":
        return  # the mapping has refused what is not finite; a table without training losses has none to be NaN
    lost = frame["final_train_loss"].isna() & ~frame["diverged"] & (frame["steps"] > 0)
    if lost.any():
        found = f"{int(lost.sum())} runs have a NaN loss and are not marked diverged"
        raise MusterError(place, found, "Data or targets may hold NaN: check the data set")


def _with_keys(part: pd.DataFrame, planned: PlannedCell, plan: StudyPlan) -> pd.DataFrame:
    keys = {"study": plan.study.study, **_axis_values(planned, plan)}
    own = [*plan.member_axes, *plan.run_keys]
    # A horizon may be an axis: then `steps` is the planned one, as a run that diverged must stay in its horizon's rows.
    values = [name for name in part if name not in own and name not in keys]
    return pd.concat([pd.DataFrame(keys, index=part.index), part[[*own, *values]]], axis=1)


def _axis_values(planned: PlannedCell, plan: StudyPlan) -> dict[str, Any]:
    """The cell's key columns, apart from the study."""
    values = {axis: getattr(planned.cell, axis) for axis in plan.cell_axes}
    return {
        axis: value if isinstance(value, (str, int, float)) or value is None else json.dumps(value, sort_keys=True)
        for axis, value in values.items()
    }


def _columns(plan: StudyPlan, kind: Kind) -> list[str]:
    return list(dict.fromkeys([*plan.keys, *COLUMNS[kind], *(plan.brought if kind == "runs" else ())]))


def _empty(plan: StudyPlan, kind: Kind) -> pd.DataFrame:
    """A table without rows whose columns are those of a full one."""
    numbers = {*plan.member_axes, *plan.brought}
    names = _columns(plan, kind)
    return pd.DataFrame({name: pd.Series(dtype="float64" if name in numbers else "str") for name in names}).astype(
        {name: "str" if dtype == "string" else dtype for name, dtype in COLUMNS[kind].items()}
    )
