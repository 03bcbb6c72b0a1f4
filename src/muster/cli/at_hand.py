"""A study held against tables that are there already: columns, values and groups that no plan can know."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from muster.config.load import nearest
from muster.config.models import FitConfig
from muster.digests import unsealed
from muster.errors import DamagedError, FieldError, FieldPath, MusterError, as_one
from muster.experiments import EXPERIMENTS, Context
from muster.fitting.base import ESTIMATORS
from muster.fitting.compared import compared
from muster.fitting.frames import groups, select
from muster.plan.grid import plan_study
from muster.plan.study import StudyPlan
from muster.published.import_table import ImportCell
from muster.published.readers import READERS
from muster.published.source import FORBIDDEN, state
from muster.tables.collect import KINDS
from muster.tables.io import read_table

SHOWN = 12  # values or groups that a message lists


class AtHand(NamedTuple):
    """Tables of a study by kind, and where they come from; the results' folder, if a run of this plan made them."""

    tables: dict[str, pd.DataFrame]
    origin: str
    results: Path | None = None


def tables_at_hand(plan: StudyPlan, results: Path, sources: Iterable[Path]) -> AtHand | None:
    """The tables that were collected from this very plan, else published tables that all lie on disk; None without.

    sources: folders of published tables. Raises MusterError, at the field of the source, for a published table that
    does not fit its mapping.
    """
    folder = results / "tables" / plan.study.study
    record = results / "provenance" / "tables" / f"{plan.study.study}.json"
    try:
        if unsealed(record.read_bytes())["config"]["cells"] == plan.digest:
            tables: dict[str, pd.DataFrame] = {kind: read_table(folder / f"{kind}.parquet", kind) for kind in KINDS}
            return AtHand(tables, str(folder), results)
    except (OSError, ValueError, KeyError, TypeError, DamagedError):
        pass  # not made, or not readable: then nothing is at hand, and a run makes it anew
    return _published(plan, list(sources), _downloads(results))


def _downloads(results: Path) -> Path:
    """Where jobs keep what they downloaded, by checksum."""
    return results / "sources" / "downloaded"


def _published(plan: StudyPlan, sources: list[Path], downloaded: Path) -> AtHand | None:
    """The mapped rows of published tables, if every one of them lies on disk."""
    cells = [planned.cell for planned in plan.cells]
    if not all(isinstance(cell, ImportCell) and _on_disk(cell, sources, downloaded) for cell in cells):
        return None
    context = Context(source_dirs=tuple(sources), download_dir=downloaded, progress=lambda line: None)
    parts, wrong = [], list[FieldError]()
    for planned in plan.cells:
        cell = planned.cell
        try:
            runs = EXPERIMENTS[planned.experiment].run(cell, context).runs
        except MusterError as error:
            wrong += _at_field(error, ("settings", "sources", cell.source))  # type: ignore[attr-defined]
            continue
        parts.append(runs.assign(**{axis: getattr(cell, axis) for axis in plan.cell_axes}))
    if wrong:
        raise as_one(wrong)
    return AtHand({"runs": pd.concat(parts, ignore_index=True)}, "its published tables")


def _at_field(error: MusterError, source: FieldPath) -> Iterator[FieldError]:
    """What is wrong with a published table, at the field of its mapping: `file: columns.tokens` ends in it."""
    for mistake in error.mistakes:
        file, _, inner = mistake.place.rpartition(": ")
        mapped = [int(part) if part.isdigit() else part for part in inner.split(".")] if file else []
        yield FieldError((*source, *mapped), f"{file or mistake.place}: {mistake.found}", mistake.remedy)


def _on_disk(cell: ImportCell, sources: list[Path], downloaded: Path) -> bool:
    table = cell.table
    if table.sha256 and (downloaded / table.sha256).is_file():
        return True
    return not state(table, sources).startswith(("absent", "unreadable", "refused"))


def unchecked(plan: StudyPlan, results: Path, sources: list[Path], *, asked: bool) -> Iterator[str]:
    """Why a study was not held against its published tables: each source that is not there as the study says.

    asked: whether somebody named the folder; else a table that is nowhere is no news.
    """
    for planned in plan.cells:
        cell = planned.cell
        if not isinstance(cell, ImportCell) or _on_disk(cell, sources, _downloads(results)):
            continue
        table = cell.table
        found = state(table, sources)
        kind, _, digest = found.partition(" ")
        reasons = {
            "absent": f"no {table.file} in {', '.join(map(str, sources))}" if asked else "",
            "refused": f"{table.file} has checksum {digest[:12]}…, expected {str(table.sha256)[:12]}…",
            "unreadable": f"{table.file} cannot be read",
        }
        if why := READERS[table.reader].forbidden() if found == FORBIDDEN else reasons.get(kind):
            yield f"settings.sources.{cell.source}: not checked against its table: {why}"


def mistakes(plan: StudyPlan, at_hand: AtHand) -> Iterator[FieldError]:
    """What a study's fits, claims and figures name and the tables do not hold.

    At scale smoke, whose grid need not hold what the others do, only names are looked for: columns and texts.
    """
    check = _Check(plan, at_hand)
    sound = []
    for name in plan.study.fits:
        wrong = list(check.fit(name))
        yield from wrong
        sound += [] if wrong else [name]
    for i, claim in enumerate(plan.study.claims):
        if claim.fit in sound:
            yield from check.group(plan.study.fits[claim.fit], claim.where, ("claims", i, "where"))
    for name, figure in plan.study.figures.items():
        yield from check.selection(at_hand.tables, figure.select, ("figures", name, "select"))


def asked(plan: StudyPlan, at_hand: AtHand) -> Iterator[str]:
    """What the tables leave open about a fit, which is no mistake: its field, and the question."""
    for name, fit in plan.study.fits.items():
        table = at_hand.tables.get(fit.table)
        rows = pd.DataFrame() if table is None else select(table, fit.select)
        if len(rows) and (question := ESTIMATORS[fit.estimator].ask(rows, fit)):
            yield f"fits.{name}: {question}"


class _Check:
    def __init__(self, plan: StudyPlan, at_hand: AtHand):
        self.plan, self.at_hand = plan, at_hand

    def fit(self, name: str) -> Iterator[FieldError]:
        fit, field = self.plan.study.fits[name], ("fits", name)
        table = self.at_hand.tables.get(fit.table)
        if table is None or table.empty:
            return
        wrong = list(self._columns(fit, table, field))
        wrong += self.selection({fit.table: table}, fit.select, (*field, "select"))
        for side, group in compared(fit).items():
            wrong += self.selection({fit.table: table}, group, (*field, "options", side))
        yield from wrong
        if wrong or self.plan.scale == "smoke":
            return
        rows = select(table, fit.select)
        if rows.empty:
            yield FieldError((*field, "select"), f"no row of {self.at_hand.origin} has all of these", "Loosen it")
        elif rows[fit.response].isna().all():
            found = f"{fit.response!r} is empty in all rows that are selected from {self.at_hand.origin}"
            filled = [str(c) for c in rows if pd.api.types.is_numeric_dtype(rows[c]) and rows[c].notna().any()]
            yield FieldError((*field, "response"), found, f"Columns that are not: {', '.join(filled)}")
        else:
            for mistake in ESTIMATORS[fit.estimator].wrong(rows, fit):
                yield FieldError((*field, *mistake.place.split(".")), mistake.found, mistake.remedy)

    def _columns(self, fit: FitConfig, table: pd.DataFrame, field: FieldPath) -> Iterator[FieldError]:
        needs = ESTIMATORS[fit.estimator].needs
        named = (("response", [fit.response]), ("along", [fit.along]), ("by", fit.by), ("estimator", needs))
        for part, columns in named:
            for column in columns:
                if column not in table:
                    found = f"{column!r} is no column of the {fit.table} table in {self.at_hand.origin}"
                    yield FieldError((*field, part), found, nearest(column, table.columns))

    def selection(
        self, tables: Mapping[str, pd.DataFrame], wanted: Mapping[str, Any], field: FieldPath
    ) -> Iterator[FieldError]:
        """Every selected value must occur in one of the tables."""
        for column, value in wanted.items():
            own = [table[column] for table in tables.values() if column in table]
            if not own and tables:
                known = dict.fromkeys(name for table in tables.values() for name in table.columns)
                found = f"{column!r} is no column in {self.at_hand.origin}"
                yield FieldError((*field, column), found, nearest(column, known))
            several = value if isinstance(value, list) else [value]
            missing = [one for one in several if not any((values == one).any() for values in own)]
            for one in missing if own else ():
                of_another = len(missing) < len(several) and self._of_another_scale(column, one)
                if self._told(column, one) and not of_another:
                    found = f"no row in {self.at_hand.origin} has {column} {one!r}"
                    yield FieldError((*field, column), found, _remedy(one, pd.concat(own)))

    def _told(self, column: str, value: Any) -> bool:
        """Whether tables of this scale can tell that a value is wrong."""
        return self.plan.scale != "smoke" or (isinstance(value, str) and column not in self.plan.keys)

    def _of_another_scale(self, column: str, value: Any) -> bool:
        """Whether a value beside others that are there may be meant for another scale: a setting that one of its cells
        has, or a step or layer, of which no plan knows. A published table is the same at every scale."""
        if self.at_hand.results is None:
            return False
        named = [values[column] for values in self.others if column in values]
        return any(value in values for values in named) if named else bool(self.others)

    @cached_property
    def others(self) -> list[dict[str, set[Any]]]:
        """Column → values that cells take at each of the other scales."""
        found = []
        for scale in self.plan.study.scales:
            if scale == self.plan.scale:
                continue
            plan = plan_study(self.plan.study, scale)
            axes = (*plan.cell_axes, *plan.member_axes)
            taken: dict[str, set[Any]] = {axis: set() for axis in axes}
            for planned, axis in itertools.product(plan.cells, axes):
                one = getattr(planned.cell, axis)
                taken[axis] |= set(one) if isinstance(one, list | tuple) else {one}
            found.append(taken)
        return found

    def group(self, fit: FitConfig, where: Mapping[str, Any], field: FieldPath) -> Iterator[FieldError]:
        """The group of a claim must occur among the rows of its fit."""
        table = self.at_hand.tables.get(fit.table)
        if table is None or table.empty or set(where) != set(fit.by):
            return
        values = list(self.selection({fit.table: table}, where, field))
        yield from values
        if values or self.plan.scale == "smoke":
            return
        rows = select(table, fit.select)
        if select(rows, dict(where)).empty:
            known = [str(group) for group, _ in groups(rows, fit.by)]
            found = f"no row of fit's selection in {self.at_hand.origin} has {dict(where)}"
            yield FieldError(field, found, f"Groups: {_listed(known)}")


def _remedy(value: Any, values: pd.Series) -> str:
    known = values.dropna().unique().tolist()
    if isinstance(value, str):
        return nearest(value, sorted(map(str, known)))
    return f"It has: {_listed([f'{each:g}' if isinstance(each, float) else str(each) for each in sorted(known)])}"


def _listed(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {more} more" if more > 0 else "") if texts else "none"
