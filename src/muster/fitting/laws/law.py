"""A law that a study, or a reader with a table, writes down as a formula: no code."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from muster.columns import COLUMNS
from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, group_key, parse_options
from muster.fitting.frames import groups
from muster.fitting.frames import select as selected
from muster.fitting.laws import formula
from muster.fitting.laws.base import ALONG, LAWS, Array, Law
from muster.fitting.laws.declared import Declaration, declare, parameter_names
from muster.fitting.laws.estimate import VARIANTS, Foretold, estimator_of_laws, foretell, infer, tested_numbers
from muster.fitting.laws.options import LawOptions
from muster.fitting.per_group import rows_of_fitted
from muster.published.mapping import NUMERIC

DECLARED = "law"
# Names that mean a column wherever they stand: the quantities of every table of runs.
QUANTITIES = frozenset({*NUMERIC, *(column for table in COLUMNS.values() for column in table)})


def _lower(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in named.items()}


class DeclaredOptions(LawOptions):
    """Options of `law`."""

    form: str = Field(
        min_length=1,
        description="The law, such as E + A / parameters^alpha: columns of the table and parameters, which are "
        f"reported in lower case; functions: {', '.join(formula.KNOWN)}",
        examples=["E + A / parameters^alpha"],
    )
    variables: list[str] = Field(
        default_factory=list,
        description="Columns in the form, beside the usual ones (parameters, tokens, flops, width, …) and `x`, which "
        "is the column in `along`",
    )
    signed: list[str] = Field(
        default_factory=list, description="Parameters and variables that may be zero or negative; all others are > 0"
    )
    bounds: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Parameter → [low, high]: an estimate that ends there is not one"
    )
    starts: dict[str, list[float]] = Field(
        default_factory=dict, description="Parameter → values to start at, where those that are derived fail"
    )
    derived: dict[str, str] = Field(
        default_factory=dict, description="Name → formula of parameters, reported with an interval like them"
    )

    @field_validator("fixed", "bounds", "starts")
    @classmethod
    def _reported_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        return _lower(named)

    @field_validator("published")
    @classmethod
    def _published_names(cls, published: dict[str, Any]) -> dict[str, Any]:
        return {
            name: _lower(given)
            if isinstance(given, dict)
            else [each.model_copy(update={"values": _lower(each.values)}) for each in given]
            for name, given in published.items()
        }

    @property
    def variables_of_form(self) -> tuple[str, ...]:
        """The names in the formula that are columns, in the order of the formula."""
        known = {*self.columns, *self.variables, *QUANTITIES, ALONG}
        return tuple(name for name in formula.names(self.form) if name in known)


def law_of_options(options: DeclaredOptions) -> Law:
    """The law that options declare. Raises a MusterError that names the option that is wrong."""
    for name in options.variables:
        if name not in formula.names(options.form):
            raise MusterError("options.variables", f"{name!r} does not stand in the form", "Remove it")
    variables = options.variables_of_form
    parameters = parameter_names(options.form, variables)
    signed = tuple(name if name in variables else name.lower() for name in options.signed)
    for name in signed:
        if name not in (*variables, *parameters):
            raise MusterError("options.signed", f"{name!r} does not stand in the form", "Remove it")
    return declare(
        DECLARED,
        Declaration(
            options.form,
            variables,
            signed=signed,
            bounds=tuple(options.bounds.items()),
            starts=tuple((name, tuple(values)) for name, values in options.starts.items()),
            derived=tuple(options.derived.items()),
        ),
    )


def law_of_table(options: DeclaredOptions, table: pd.DataFrame) -> Law:
    """The law that options declare, for a table in which no parameter has the name of a column."""
    for name in formula.names(options.form):
        if name in table.columns and name not in options.variables_of_form:
            found = f"{name!r} is a column of the table, and taken for a parameter"
            raise MusterError("options.form", found, "Name it under `variables`, or give the parameter another name")
    return law_of_options(options)


def law_of(fit: FitConfig) -> Law | None:
    """The law that a fit is of; None for other estimators."""
    if fit.estimator == DECLARED:
        return law_of_options(parse_options(DeclaredOptions, fit))
    if fit.estimator in LAWS:
        return LAWS[fit.estimator]
    return None


def _numbers(fit: FitConfig) -> list[str]:
    try:
        law = law_of_options(parse_options(DeclaredOptions, fit))
    except MusterError:
        return []  # told when the options are checked
    return [*law.parameters, *law.derived, *tested_numbers(fit)]


class FormFit(NamedTuple):
    """A formula fitted to a table. fits: a row for each parameter and group, as `fit_rows` makes them.

    predictions: a row for each group and new or held-out run: `group`, the variables, `held`; the `row` of the table it
    is and what was `seen` (NaN for a new one); `predicted` with the 95 % interval for one run, `low` … `high`, and a
    `note` where there is none.
    """

    fits: pd.DataFrame
    predictions: pd.DataFrame


def form_config(table: pd.DataFrame, form: str, response: str, by: Sequence[str] = (), **options: Any) -> FitConfig:
    """A formula as a study would fit it: names in it that are columns of the table are its variables."""
    variables = [name for name in formula.names(form) if name in table.columns]
    given = {**options, "form": form, "columns": {name: name for name in variables}}
    along = variables[0] if variables else response
    return FitConfig.model_validate(
        {"estimator": DECLARED, "response": response, "along": along, "by": list(by), "options": given}
    )


def fit_form(
    table: pd.DataFrame,
    form: str,
    response: str,
    *,
    by: Sequence[str] = (),
    select: Mapping[str, Any] | None = None,
    at: pd.DataFrame | None = None,
    **options: Any,
) -> FormFit:
    """Fit a formula to a table, and predict the runs that were held out of it and those of `at`.

    Names in the formula that are columns of the table are its variables, all others parameters. at: a column for each
    variable. options: as those of the estimator `law` (clusters, delta, published, hold_out, derived, …). Raises a
    MusterError for what is wrong.
    """
    fit = form_config(table, form, response, by, **options)
    chosen = parse_options(DeclaredOptions, fit)
    law_of_options(chosen)
    fits: list[dict[str, Any]] = []
    predictions: list[pd.DataFrame] = []
    for group, rows in groups(selected(table, dict(select or {})), fit.by):
        law = law_of_table(chosen, rows)
        found = infer(law, rows, fit, chosen)
        for number in found.fitted:
            fits += rows_of_fitted(group, number, VARIANTS, VARIANTS[0], rows)
        held = found.held
        made = [_predicted(law, found.made, held.x, held.y, held.rows.index)] if len(held.y) else []
        if at is not None and len(at):
            x_new = at[list(law.variables)].to_numpy(float).T
            made.append(_predicted(law, foretell(found.solved, x_new), x_new, np.full(len(at), np.nan), None))
        predictions += [frame.assign(group=group_key(group)) for frame in made]
    return FormFit(pd.DataFrame(fits), pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame())


def _predicted(law: Law, made: Foretold, x_new: Array, seen: Array, rows: pd.Index | None) -> pd.DataFrame:
    """Predictions made at x_new [V, M] of runs that were seen to come to `seen` [M], NaN for those that were not."""
    frame = pd.DataFrame(dict(zip(law.variables, x_new, strict=True)))
    frame["held"], frame["row"], frame["seen"] = rows is not None, np.nan if rows is None else rows, seen
    return frame.assign(predicted=made.centre, low=made.low, high=made.high, note=made.notes)


ESTIMATORS.register(DECLARED)(
    estimator_of_laws(
        "A law that is written as a formula of columns and parameters",
        law_of_table,
        DeclaredOptions,
        parameters=(),
        more=_numbers,
        check=law_of_options,
        source="Golub & Pereyra 1973 (variable projection), Huber 1964 (loss); the formula is the study's",
        assumes="Independent relative errors between rows (or clusters) around one curve; every parameter moves it",
        fails="A formula with more freedom than the table can tell apart: bounds are hit or starts disagree, and the "
        "status says so; a product of two free parameters; a shift beyond the range of its variable",
    )
)
