"""Specification curve: one study's exponent under every reasonable choice of estimator.

A reader should see how much a number depends on choices that a paper makes silently (Simonsohn, Simmons & Nelson 2020).
Each estimator registers its alternatives; the declared fit decides claims, the others only show.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pandas as pd

from muster.config.models import FitConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.frames import groups, select
from muster.fitting.laws.options import LawOptions
from muster.fitting.study import check_fit, placed
from muster.plan.study import specified
from muster.registry import Registry

SPECIFICATION_COLUMNS = (
    "study", "fit", "group", "parameter", "choice", "label", "variant", "declared", "estimate", "se", "dof", "ci_low",
    "ci_high", "n_cells", "n_runs", "status", "note",
)  # fmt: skip
DECLARED = "as declared"
SWAPPED = {"train": "eval", "eval": "train"}
WHOLE = 1000  # sizes, and octaves: more than any table has
QUICK = 200  # bootstrap replicates of an alternative: enough for a picture


class Alternative(NamedTuple):
    """The declared fit with one thing changed: which choice it is, how a reader would name it, and the changed fit."""

    choice: str
    label: str
    fit: FitConfig


Alternatives = Callable[[FitConfig, pd.DataFrame], Iterable[Alternative]]
ALTERNATIVES: Registry[Alternatives] = Registry("set of alternatives")


def with_option(fit: FitConfig, choice: str, label: str, **options: object) -> Alternative:
    """The fit with some of its options replaced."""
    return Alternative(choice, label, fit.model_copy(update={"options": {**fit.options, **options}}))


def dropped_ends(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """The fit without the smallest, and without the largest, value of its axis; none below five values.

    Each group by itself, for groups need not share their values: an end that a group lacks would be no choice there.
    """
    for group, rows in groups(table, fit.by):
        values = sorted(rows[fit.along].dropna().unique().tolist())
        if len(values) < 5:
            continue
        for label, kept in ((f"without {values[0]:g}", values[1:]), (f"without {values[-1]:g}", values[:-1])):
            chosen = {**fit.select, **group, fit.along: kept}
            yield Alternative(fit.along, label, fit.model_copy(update={"select": chosen}))


def other_split(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """The fit of the evaluation loss where the training loss is declared, and the other way round."""
    for here, there in SWAPPED.items():
        response = fit.response.replace(here, there)
        if here in fit.response.split("_") and response in table.columns and table[response].notna().any():
            yield Alternative("response", response, fit.model_copy(update={"response": response}))


@ALTERNATIVES.register("lr_transfer")
@ALTERNATIVES.register("lr_transfer_difference")
def optimum_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """Other windows, other ways to locate an optimum, a laxer rule for edges, the other split, fewer shapes."""
    for window in (4, 5, 7):
        yield with_option(fit, "window", f"{window} rates", window=window)
    yield with_option(fit, "optimum", "parabola through 3", locate="parabola")
    yield with_option(fit, "optimum", "best of the grid", locate="grid")
    for side in (1, 2):
        yield with_option(fit, "edge", f"{side} rate(s) beside the best", min_side=side)
    yield from other_split(fit, table)
    yield from dropped_ends(fit, table)


@ALTERNATIVES.register("limit_rate")
def limit_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """Other powers of the approach, and everything that moves an optimum."""
    for power in (0.5, 1.0):
        yield with_option(fit, "power", f"approach as n^-{power:g}", power=power)
    yield from optimum_alternatives(fit, table)


@ALTERNATIVES.register("isoflop")
def isoflop_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """Other windows around each budget's best size, or none, the loss for its logarithm, another rule for edges, fewer
    budgets."""
    for window in (4, 5, 7):
        yield with_option(fit, "window", f"{window} sizes", window=window)
    for octaves in (2.0, 4.0, 8.0):
        yield with_option(fit, "window", f"{octaves:g} octaves of size", octaves=octaves)
    yield with_option(fit, "window", "whole curve", window=WHOLE, octaves=WHOLE)
    for scale in ("log", "linear"):
        yield with_option(fit, "response", f"{scale} loss", response_scale=scale)
    for side in (1, 2, 3):
        yield with_option(fit, "edge", f"{side} size(s) beside the best", min_side=side)
    yield from dropped_ends(fit, table)


@ALTERNATIVES.register("power_law")
def power_law_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """The other mean over seeds, the other split, fewer values of the axis."""
    if fit.options.get("aggregate", "mean") == "mean":
        for mean in ("geometric", "arithmetic"):
            yield with_option(fit, "mean", f"{mean} mean", mean=mean)
    yield from other_split(fit, table)
    yield from dropped_ends(fit, table)


@ALTERNATIVES.register("regression")
def regression_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """One variable fewer, the other split, fewer values of the axis."""
    on = fit.options.get("variables") or []
    for name in on if len(on) > 1 else []:
        yield with_option(fit, "variables", f"without {name}", variables=[other for other in on if other != name])
    yield from other_split(fit, table)
    yield from dropped_ends(fit, table)


@ALTERNATIVES.register("exponent_trend")
@ALTERNATIVES.register("exponent_difference")
def exponent_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """One exponent fewer, where four or more remain to hold the line.

    Not the other split: the exponents are those of limited data or size, which a training loss does not feel.
    """
    across = str(fit.options["across"])
    for group, rows in groups(table, fit.by):
        values = sorted(rows[across].dropna().unique().tolist())
        for left_out in values if len(values) > 4 else []:
            kept = {**fit.select, **group, across: [value for value in values if value != left_out]}
            yield Alternative(across, f"without {across} {left_out:g}", fit.model_copy(update={"select": kept}))


def law_alternatives(fit: FitConfig, table: pd.DataFrame) -> Iterator[Alternative]:
    """Other losses of the residuals, with and without the rows of largest loss, independent rows, the other split."""
    few = {"replicates": min(QUICK, LawOptions.model_validate(fit.options).replicates)}
    for label, delta in (("least squares", "squares"), ("Huber, δ = 0.001", 1e-3), ("Huber, 1.345 sd", None)):
        yield with_option(fit, "loss", label, delta=delta, **few)
    for drop in (0, 5):
        label = f"without the {drop} largest losses" if drop else "all rows"
        yield with_option(fit, "rows", label, drop_largest_losses=drop, **few)
    if fit.options.get("clusters"):
        yield with_option(fit, "clusters", "rows as independent", clusters=None, **few)
    yield from other_split(fit, table)


def alternatives_of(estimator: str) -> Alternatives | None:
    """The registered alternatives of an estimator, those of laws for any law; None where there are none."""
    if estimator in ALTERNATIVES:
        return ALTERNATIVES[estimator]
    return law_alternatives if issubclass(ESTIMATORS[estimator].options, LawOptions) else None


def specification_curve(
    study: StudyConfig, name: str, tables: dict[str, pd.DataFrame], fits: pd.DataFrame
) -> pd.DataFrame:
    """Every number of one fit under its estimator's alternatives, long, with the columns SPECIFICATION_COLUMNS.

    fits: the study's fits, where the declared choice stands already. One choice is changed at a time; each comes in all
    variants. `declared` marks the one that decides claims. An alternative that cannot be fitted stays as a row without
    a number, with the reason in `note`. Raises a MusterError that names file, fit and field when the declared fit
    itself cannot be made, or its estimator has no alternatives.
    """
    if name not in study.fits:
        place = f"config/studies/{study.study}.yaml: fits"
        raise MusterError(place, f"no fit {name!r}", f"Fits: {', '.join(study.fits)}")
    check_fit(study, name)
    fit = study.fits[name]
    with placed(study, name):
        alternatives = alternatives_of(fit.estimator)
        if alternatives is None:
            known = ", ".join(name for name in ESTIMATORS if alternatives_of(name))
            raise MusterError("estimator", f"{fit.estimator} has no alternatives to compare", f"Those with: {known}")
        if fit.table not in tables:
            raise MusterError("table", f"{fit.table!r} was not given", f"Tables: {', '.join(tables)}")
        table = tables[fit.table]
        chosen = select(table, fit.select)
        if chosen.empty:
            return pd.DataFrame(columns=list(SPECIFICATION_COLUMNS))
        parts = [_rows(Alternative(DECLARED, DECLARED, fit), fits[fits["fit"] == name])]
        for alternative in alternatives(fit, chosen):
            if not _same(alternative.fit, fit):
                parts.append(_try(alternative, table))
    curve = pd.concat(parts, ignore_index=True).assign(study=study.study, fit=name)
    return curve[list(SPECIFICATION_COLUMNS)]


def specification_curves(study: StudyConfig, tables: dict[str, pd.DataFrame], fits: pd.DataFrame) -> pd.DataFrame:
    """The specification curves that the study's figures show, one below the other."""
    parts = [specification_curve(study, name, tables, fits) for name in specified(study)]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(SPECIFICATION_COLUMNS))


def _same(one: FitConfig, other: FitConfig) -> bool:
    """Whether two fits of one estimator mean the same once its options' defaults are filled in; how many replicates an
    interval is made of is no choice."""
    kind, same = ESTIMATORS[one.estimator].options, {"replicates": None}
    options = [kind.model_validate(fit.options).model_dump() | same for fit in (one, other)]
    return options[0] == options[1] and one == other.model_copy(update={"options": one.options})


def _try(alternative: Alternative, table: pd.DataFrame) -> pd.DataFrame:
    try:
        rows = select(table, alternative.fit.select)
        return _rows(alternative, ESTIMATORS[alternative.fit.estimator].function(rows, alternative.fit).fits)
    except MusterError as error:
        missing = dict.fromkeys(("estimate", "se", "dof", "ci_low", "ci_high"), float("nan"))
        row = {**missing, "group": "{}", "parameter": "", "variant": "", "n_cells": 0, "n_runs": 0}
        row |= {"status": "not_fitted", "note": str(error), "declared": False}
        return pd.DataFrame([{**row, "choice": alternative.choice, "label": alternative.label}])


def _rows(alternative: Alternative, fits: pd.DataFrame) -> pd.DataFrame:
    return fits.assign(
        parameter=fits["parameter"].replace("", ESTIMATORS[alternative.fit.estimator].first(alternative.fit)),
        declared=fits["primary"] & (alternative.choice == DECLARED),
        choice=alternative.choice,
        label=alternative.label,
    )
