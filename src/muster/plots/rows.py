"""Rows of the tables: selection, groups of a fit, estimates and predictions of one group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from muster.config.models import FigureConfig, FitConfig, Scalar
from muster.errors import MusterError
from muster.fitting.compared import compared, group_columns
from muster.plots.data import PlotData
from muster.plots.words import FACETS

if TYPE_CHECKING:
    import pandas as pd

Group = dict[str, Any]

PARAMETERIZATIONS = ("sp", "ntp", "mfp", "mup", "depth_mup", "completep")


class Prediction(NamedTuple):
    """A claim's predicted slope, its margin (0 if none) and its test."""

    slope: float
    margin: float
    test: str


def select_rows(table: pd.DataFrame, select: Mapping[str, Scalar | list[Scalar]], place: str) -> pd.DataFrame:
    """Rows whose columns hold the selected value or one of the selected values.

    Raises:
        MusterError: `select` names a column that a non-empty table does not have.
    """
    if table.empty:
        return table
    for column, wanted in select.items():
        if column not in table.columns:
            raise MusterError(f"{place}.{column}", "no such column", f"Columns: {', '.join(map(str, table.columns))}")
        table = table[table[column].isin(wanted if isinstance(wanted, list) else [wanted])]
    return table


def fit_of(data: PlotData, spec: FigureConfig) -> FitConfig | None:
    return data.study.fits[spec.fit] if spec.fit else None


def fitted_rows(data: PlotData, spec: FigureConfig, table: str) -> pd.DataFrame:
    """Rows of a table that enter the figure's fit and are selected by the figure."""
    fit = fit_of(data, spec)
    rows = getattr(data, table)
    if fit is not None and fit.table == table:
        rows = select_rows(rows, fit.select, f"fits.{spec.fit}.select")
    if fit is not None and compared(fit) and len(rows):
        rows = rows[sum(_member(rows, group) for group in compared(fit).values()) > 0]
    return select_rows(rows, _within(rows, spec.select, table), "select")


def _member(rows: pd.DataFrame, group: Mapping[str, Any]) -> pd.Series:
    """Which rows belong to a group of values, or of lists of them; columns that the table lacks do not restrict it."""
    import pandas as pd

    found = pd.Series(True, rows.index)
    for column, value in group.items():
        if column in rows.columns:
            found &= rows[column].isin(value if isinstance(value, list) else [value])
    return found


def _within(rows: pd.DataFrame, select: Mapping[str, Any], table: str) -> dict[str, Any]:
    # A figure that reads two tables may select a probe or a step, which its table of runs does not have.
    own = {"runs": {"probe", "layer", "step"}, "curves": {"probe", "layer"}}.get(table, set())
    return {column: value for column, value in select.items() if column in rows.columns or column not in own}


def grouping(fit: FitConfig | None, rows: pd.DataFrame) -> list[str]:
    """Columns that separate panels: those of the fit's groups, else of parameterization, optimizer, rule that vary."""
    if fit is not None:
        return group_columns(fit)
    return [column for column in FACETS if column in rows.columns and rows[column].nunique() > 1]


def groups_in(rows: pd.DataFrame, by: list[str]) -> list[Group]:
    """Combinations of the `by` columns that occur, in the order of panels."""
    if not by:
        return [{}]
    present = [column for column in by if column in rows.columns]
    if rows.empty or not present:
        return []
    found = rows[present].drop_duplicates().to_dict("records")
    return panel_order([{str(k): python_scalar(v) for k, v in each.items()} for each in found])


def panel_order(found: list[Group]) -> list[Group]:
    """Groups in the order of panels: row by row, the columns of panels being the values of one `by` column."""
    last = column_of_panels(found)

    def key(group: Group) -> list[tuple[int, float, str]]:
        return [axis_order(value) for column, value in group.items() if column != last] + [axis_order(group.get(last))]

    return sorted(found, key=key)


def column_of_panels(found: Sequence[Group]) -> str:
    """The `by` column whose values make a row of panels: the one with most values, up to four."""
    levels = {column: len({group[column] for group in found}) for column in found[0]} if found else {}
    fitting = {column: count for column, count in levels.items() if count <= 4}
    return max(fitting, key=lambda column: (fitting[column], column == FACETS[0])) if fitting else ""


def axis_order(value: Any) -> tuple[int, float, str]:
    """Sort key of axis values: parameterizations in the field's order, numbers by size, the rest by name."""
    if value in PARAMETERIZATIONS:
        return 0, PARAMETERIZATIONS.index(value), ""
    if isinstance(value, int | float):
        return 1, float(value), ""
    return 2, 0.0, str(value)


def python_scalar(value: Any) -> Any:
    """A numpy scalar as the Python number that a group in JSON would hold."""
    return value.item() if hasattr(value, "item") else value


def rows_of_group(rows: pd.DataFrame, group: Group) -> pd.DataFrame:
    """Rows of one group; columns that the table lacks do not restrict it."""
    for column, value in group.items():
        if column in rows.columns:
            rows = rows[rows[column] == value]
    return rows


def estimates_of_group(table: pd.DataFrame, fit: str | None, group: Group) -> pd.DataFrame:
    """Rows of `optima` or `fits` that belong to one fit and one group (canonical JSON in their column `group`)."""
    if table.empty or fit is None:
        return table.iloc[:0]
    rows = table[table["fit"] == fit]
    return rows[[json.loads(text) == group for text in rows["group"]]]


def groups_to_draw(data: PlotData, spec: FigureConfig, rows: pd.DataFrame) -> list[Group]:
    """Groups to draw: those in the rows, and those that the optima or fits know although no row is left."""
    fit = fit_of(data, spec)
    by = grouping(fit, rows)
    found = groups_in(rows, by)
    for table in (data.optima, data.fits):
        if table.empty or spec.fit is None:
            continue
        for text in table.loc[table["fit"] == spec.fit, "group"].unique():
            told = json.loads(text)
            group = {column: told[column] for column in by if column in told}
            if group not in found and len(group) == len(by) > 0 and _selected(group, spec.select):
                found.append(group)
    return panel_order(found)


def without_hue(found: Iterable[Group], hue: str | None) -> list[Group]:
    """Groups without the column that is shown as hue, each once."""
    kept: list[Group] = []
    for group in found:
        facet = {column: value for column, value in group.items() if column != hue}
        if facet not in kept:
            kept.append(facet)
    return kept


def _selected(group: Group, select: Mapping[str, Any]) -> bool:
    return all(
        group[column] in (wanted if isinstance(wanted, list) else [wanted])
        for column, wanted in select.items()
        if column in group
    )


def primary_estimate(data: PlotData, spec: FigureConfig, group: Group) -> Mapping[Any, Any] | None:
    """The row of `fits` that decides claims on this group, if it was estimated."""
    rows = estimates_of_group(data.fits, spec.fit, group)
    rows = rows[rows["primary"].astype(bool)] if len(rows) else rows
    # The first parameter of an estimator is the one that claims mean unless they name another.
    return None if rows.empty else rows.iloc[0].to_dict()


def predicted_slopes(data: PlotData, spec: FigureConfig, group: Group) -> list[Prediction]:
    """Slopes that the study's claims predict for this group, each once."""
    slopes = ("equivalence", "interval", "greater", "less")
    found = [
        Prediction(claim.predicted, claim.margin, claim.test)
        for claim in data.study.claims
        if claim.fit == spec.fit and claim.where == group and claim.test in slopes
    ]
    return list(dict.fromkeys(found))


def base_optimum(optima: pd.DataFrame, group: Group) -> float | None:
    """log2 of the optimal rate of the smallest shape, over every fit whose group does not contradict this one."""
    found = [
        (row["x"], row["log2_lr_opt"])
        for _, row in optima.iterrows()
        if row["status"] == "interior" and all(group.get(k, v) == v for k, v in json.loads(row["group"]).items())
    ]
    return min(found)[1] if found else None
