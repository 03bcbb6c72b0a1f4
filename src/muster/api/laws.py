"""Somebody's scaling law, written as a formula, fitted to her table of runs."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from muster.api.conditions import Condition, read_condition
from muster.api.result import Result
from muster.config.load import nearest
from muster.config.models import StudyConfig
from muster.errors import Gathering, MusterError
from muster.fitting.base import group_key
from muster.fitting.laws import formula
from muster.fitting.laws.law import DECLARED, FormFit, fit_form
from muster.fitting.optimum.predict_lr import reach
from muster.tables.sweeps.points import FoundColumns, PointColumns, Points, find_points, read_points

if TYPE_CHECKING:
    from muster.plots import PlotData

EACH = "each"  # in place of a condition: every cluster is held out in turn
HELD = "held out"  # the table's own column; no formula has a name like it
NUMBERS = ("extrapolation_error",)  # of a fit, beside its parameters
Record = dict[str, Any]
Point = Mapping[str, float | Sequence[float]]


@dataclass(frozen=True)
class ScalingLaw(Result):
    """What a table of runs says of a law. DataFrames have a column for each of `by`, then their own.

    parameters: with 95 % intervals, or why there is none. extrapolation: how the runs that were held out are predicted:
    mean relative error with interval, bias, and how many lie in their 95 % intervals. held_out: each of them.
    predictions: for one new run at each point asked for. notes: what was left out or taken to be. Figure: `law_fit`.
    """

    tables: ClassVar = ("parameters", "extrapolation", "held_out", "predictions")
    figures: ClassVar = ("law_fit",)

    file: str
    form: str
    points: Points
    study: StudyConfig
    found: FormFit

    @property
    def runs(self) -> pd.DataFrame:
        return self.points.table

    @property
    def notes(self) -> list[str]:
        return self.points.notes

    @cached_property
    def records(self) -> Record:
        """Everything as plain lists and numbers: what `muster fit-table --law --json` prints."""
        held, new = (_predicted(self.found.predictions, each, self) for each in (True, False))
        return {
            "file": self.file,
            "law": self.form,
            "response": self.points.response,
            "variables": self.points.variables,
            "clusters": self.points.clusters,
            "runs": {"count": len(self.runs), "held_out": len(held)},
            "notes": self.notes,
            "parameters": _parameters(self.found.fits, self.form),
            "scatter": _scatter(self.found.fits),
            "extrapolation": _extrapolations(self.found.fits, held),
            "held_out": held,
            "predictions": new,
        }

    @property
    def parameters(self) -> pd.DataFrame:
        return self.frame("parameters")

    @property
    def extrapolation(self) -> pd.DataFrame:
        return self.frame("extrapolation")

    @property
    def held_out(self) -> pd.DataFrame:
        return self.frame("held_out")

    @property
    def predictions(self) -> pd.DataFrame:
        return self.frame("predictions")

    def summary(self) -> str:
        """The result as a reader wants it: what was read, the parameters, the runs that were held out, predictions."""
        from muster.api.law_text import text

        return text(self.records)

    def plot_data(self) -> "PlotData":
        from muster.plots import PlotData

        fits = self.found.fits.assign(study=self.study.study, fit=DECLARED, estimator=DECLARED)
        return PlotData(self.study, "", runs=self.runs, fits=fits)


def law(
    source: str | Path | pd.DataFrame,
    form: str,
    y: str | None = None,
    *,
    n: str | None = None,
    d: str | None = None,
    columns: Mapping[str, str] | None = None,
    by: Sequence[str] = (),
    select: Mapping[str, Any] | None = None,
    clusters: str | Literal[False] | None = None,
    hold_out: str | None = None,
    predict: Point | Sequence[Point] = (),
    run: str | None = None,
    step: str | None = None,
    finished: Sequence[str] = (),
    any_end: bool = False,
    **options: Any,
) -> ScalingLaw:
    """Fit a law, such as `E + A/N^alpha + B/D^beta`, to a table of runs.

    source: as for `fit_table`. Names in the law that are columns are its variables; n, d and `columns` (name → column)
    give those of other names; N and D are found by the usual words; all others are parameters, positive unless named
    in `signed`. clusters: the column within which runs depend on each other (checkpoints of one run, a family); False:
    they do not. hold_out: a condition on rows that are predicted, not fitted: `flops > 1e21`, `6*N*D > 1e21`; or
    `each`: every cluster in turn, predicted by the law refitted without it. predict:
    name → value or values, all combinations of them; or several such points. options: as those of the estimator `law`
    (fixed, bounds, starts, derived, delta, interval, signed, …). Raises MusterError with all mistakes, which name
    column, file and remedy.
    """
    wrong = Gathering()
    names: tuple[str, ...] = ()
    with wrong:
        names = tuple(formula.names(_placed_form(form)))
    condition = None
    with wrong:
        condition = read_condition(hold_out, "--hold-out") if hold_out not in (None, EACH) else None
    given = {name: column for name, column in (("N", n), ("D", d)) if column is not None} | dict(columns or {})
    asked = PointColumns(
        names,
        condition.names if condition else (),
        given,
        y,
        tuple(by),
        clusters or None,
        tuple(options.get("signed", ())),
        {str(name): str(value) for name, value in (select or {}).items()},
        run,
        step,
        tuple(finished),
        any_end,
    )
    columns_found = find_points(source, asked, wrong)
    with wrong:
        at = _targets([predict] if isinstance(predict, Mapping) else predict, columns_found)
    points = read_points(columns_found, wrong)
    if condition is not None:
        points = _held(points, condition)
        options = {**options, "hold_out": {"column": HELD, "above": 0.5}}
    elif hold_out == EACH:
        points = _each(points)
        options = {**options, "hold_out": {"each": points.clusters}}
    options = {**options, "clusters": False if clusters is False else points.clusters}
    labels = [columns_found.others[name] for name in by]
    name = "the table" if isinstance(source, pd.DataFrame) else str(source)
    used = points.table.drop(columns=[column for column in asked.needed if column not in points.variables])
    points = points._replace(table=used)
    try:
        found = fit_form(used, form, points.response, by=labels, at=at, **options)
    except MusterError as error:
        raise MusterError(f"{name}: {error.place}", error.found, error.remedy) from None
    return ScalingLaw(name, form, points, _study(name, form, points, labels, options), found)


def _placed_form(form: str) -> str:
    """The formula, whose mistakes are those of an option."""
    formula.check(form, "--law")
    return form


def _held(points: Points, condition: Condition) -> Points:
    """The table with the runs marked that are predicted, not fitted."""
    held = condition.holds(points.table)
    if held.all() or not held.any():
        found = f"{condition.text!r} holds for {'every run' if held.all() else 'no run'}"
        values = points.table[list(condition.names)].agg(["min", "max"])
        shown = "; ".join(f"{name} is {values[name]['min']:g} to {values[name]['max']:g}" for name in condition.names)
        raise MusterError(f"{points.path} --hold-out", found, f"Hold out some: {shown}")
    return points._replace(table=points.table.assign(**{HELD: held.astype(float)}))


def _each(points: Points) -> Points:
    """The table, whose clusters are all held out in turn."""
    if points.clusters is None:
        found = f"found {EACH!r}, and nothing says which runs belong together"
        raise MusterError(f"{points.path} --hold-out", found, "Name what is held out in turn: --clusters COLUMN")
    note = f"each value of {points.clusters!r} is held out in turn, and predicted by the law refitted without it"
    return points._replace(notes=[*points.notes, note])


def _targets(predict: Sequence[Point], found: FoundColumns) -> pd.DataFrame:
    """The points at which to predict: a column for each variable, named as in the law or as its column."""
    names = {column: name for name, column in found.variables.items()} | {name: name for name in found.names}
    wrong = Gathering()
    rows: list[Record] = []
    for point in predict if found.names else ():
        values: dict[str, list[float]] = {}
        for name, value in point.items():
            with wrong:
                if name not in names:
                    raise MusterError(f"--predict {name}", "the law has no such variable", nearest(name, names))
                values[names[name]] = _numbers(name, value, names[name] in found.asked.signed)
        with wrong:
            if missing := [name for name in found.names if name not in values and name not in point]:
                told = ",".join(f"{name}=VALUE" for name in found.names)
                raise MusterError("--predict", f"no value of {', '.join(missing)}", f"Write {told}")
            rows += [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
    wrong.tell()
    return pd.DataFrame(rows)


def _numbers(name: str, value: float | Sequence[float], signed: bool) -> list[float]:
    values = [float(each) for each in np.atleast_1d(np.asarray(value, float))]
    for each in values:
        if not math.isfinite(each) or not (signed or each > 0):
            raise MusterError(f"--predict {name}", f"found {each:g}", "Give a positive number")
    return values


def _study(name: str, form: str, points: Points, by: Sequence[str], options: Mapping[str, Any]) -> StudyConfig:
    """The law as a fit of a study, which figures are drawn of."""
    variables = list(points.variables)
    fit: Record = {
        "estimator": DECLARED,
        "response": points.response,
        "along": variables[0],
        "by": list(by),
        "options": {**options, "form": form, "columns": {name: name for name in variables}},
    }
    return StudyConfig.model_validate(
        {"study": "fit-table", "title": Path(name).name, "paper": name, "slug": "fit-table", "experiment": "command",
         "scales": {"laptop": {"grid": [{}]}}, "fits": {DECLARED: fit},
         "figures": {"law_fit": {"plot": "law_fit", "fit": DECLARED}}}
    )  # fmt: skip


def _parameters(fits: pd.DataFrame, form: str) -> list[Record]:
    """The parameters as the law spells them; derived numbers as they were named."""
    spelled = {name.lower(): name for name in formula.names(form)}
    kept = ["estimate", "se", "dof", "ci_low", "ci_high", "status", "note"]
    return [
        {"group": json.loads(row["group"]), "parameter": spelled.get(row["parameter"], row["parameter"])}
        | {name: row[name] for name in kept}
        for row in fits.to_dict("records")
        if row["parameter"] not in NUMBERS
    ]


def _scatter(fits: pd.DataFrame) -> list[Record]:
    """How far runs lie off the law, and how many were fitted, in each group."""
    records = []
    for key, rows in fits.groupby("group", sort=False):
        seen = json.loads(rows["diagnostics"].iloc[0])
        fitted = int(rows["n_runs"].iloc[0])
        records.append({"group": json.loads(str(key)), "runs": fitted, "sd": seen.get("robust_sd", math.nan)})
    return records


def _extrapolations(fits: pd.DataFrame, held: Sequence[Record]) -> list[Record]:
    records = []
    for row in fits[fits["parameter"] == NUMBERS[0]].to_dict("records"):
        own = [each for each in held if group_key(each["group"]) == row["group"]]
        known = [each for each in own if math.isfinite(each["low"])]
        records.append(
            {
                "group": json.loads(row["group"]),
                "runs": len(own),
                "error": row["estimate"],
                "ci_low": max(row["ci_low"], 0.0),
                "ci_high": row["ci_high"],
                "bias": float(np.mean([each["error"] for each in own if math.isfinite(each["error"])] or [math.nan])),
                "inside": sum(each["inside"] for each in known),
                "intervals": len(known),
                "status": row["status"],
                "note": row["note"],
            }
        )
    return records


def _predicted(predictions: pd.DataFrame, held: bool, result: ScalingLaw) -> list[Record]:
    """Runs that were held out with the relative error of what was predicted; or new ones, with how far they lie beyond
    those that were fitted."""
    records = []
    variables = list(result.points.variables)
    for row in predictions.to_dict("records") if len(predictions) else []:
        if row["held"] != held:
            continue
        record = {"group": json.loads(row["group"]), **{name: row[name] for name in variables}}
        made = {"predicted": row["predicted"], "low": row["low"], "high": row["high"], "note": row["note"]}
        if held:
            seen = row["seen"]
            place = str(result.runs["run"].get(row["row"], "")) if "run" in result.runs else ""
            inside = bool(row["low"] <= seen <= row["high"])
            records.append({**record, "run": place, "seen": seen, **made,
                            "error": row["predicted"] / seen - 1, "inside": inside})  # fmt: skip
        else:
            records.append({**record, **made, "beyond": _beyond(result, record)})
    return records


def _beyond(result: ScalingLaw, record: Record) -> dict[str, float]:
    """Variables of a prediction that lie far beyond the runs of its group that were fitted, and by which factor."""
    rows = result.runs[result.runs[HELD] == 0] if HELD in result.runs else result.runs
    for name, value in record["group"].items():
        rows = rows[rows[name] == value]
    positive = [name for name in result.points.variables if rows[name].min() > 0]
    far = {name: reach(rows[name].to_numpy(float), record[name]) for name in positive}
    return {name: found.factor for name, found in far.items() if found.far}
