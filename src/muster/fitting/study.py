"""All fits of one study, with every mistake placed in its file and field."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pandas as pd

from muster.config.models import FitConfig, StudyConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    FIT_COLUMNS,
    OPTIMUM_COLUMNS,
    PREDICTION_COLUMNS,
    Counts,
    Estimator,
    FitResult,
    PairOptions,
    fit_rows,
    no_estimates,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import require_columns, select


@contextmanager
def placed(study: StudyConfig, fit_name: str) -> Iterator[None]:
    """Prefix the place of a MusterError with the study's file and the fit's field."""
    try:
        yield
    except MusterError as error:
        place = f"config/studies/{study.study}.yaml: fits.{fit_name}.{error.place}"
        raise MusterError(place, error.found, error.remedy) from None


def check_fit(study: StudyConfig, fit_name: str) -> None:
    """Check a fit without data: its estimator, variant and options. Raises a MusterError that names file, fit and
    field.

    What the grid must offer stands in the estimator's `min_points` (values of `along`) and `needs` (columns).
    """
    fit = study.fits[fit_name]
    with placed(study, fit_name):
        estimator = _estimator(fit)
        primary_variant(fit, estimator.variants)
        options = parse_options(estimator.options, fit)
        if fit.along in fit.by:
            raise MusterError("by", f"{fit.along!r} is the axis of the fit", "Remove it from `by`: `along` names it")
        if isinstance(options, PairOptions):
            _check_pair(options, fit)
        estimator.check(options)


def _check_pair(options: PairOptions, fit: FitConfig) -> None:
    if set(options.a) != set(options.b) or options.a == options.b:
        raise MusterError(
            "options", f"a is {options.a}, b is {options.b}", "Give both the same columns with other values"
        )
    for column in options.a:
        if column in fit.by:
            raise MusterError("by", f"{column!r} tells a from b", "Remove it from `by`")


def _estimator(fit: FitConfig) -> Estimator:
    try:
        return ESTIMATORS[fit.estimator]
    except MusterError as error:
        raise MusterError("estimator", error.found, error.remedy) from None


class StudyFits(NamedTuple):
    """All fits of a study, with the columns OPTIMUM_COLUMNS, FIT_COLUMNS and PREDICTION_COLUMNS."""

    optima: pd.DataFrame
    fits: pd.DataFrame
    predictions: pd.DataFrame


def fit_study(study: StudyConfig, tables: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Optima and fits of `fit_and_predict`."""
    made = fit_and_predict(study, tables)
    return made.optima, made.fits


def fit_and_predict(study: StudyConfig, tables: dict[str, pd.DataFrame]) -> StudyFits:
    """Run every fit of a study on its tables (`runs`, `curves`, `probes`), in the order of the study's fits.

    A fit whose selection is empty becomes one row of status `no_rows`. Raises a MusterError that names file, fit and
    field when a fit cannot be made sense of.
    """
    all_fits, all_optima, all_predictions = [], [], []
    for name, fit in study.fits.items():
        check_fit(study, name)
        estimator = _estimator(fit)
        with placed(study, name):
            if fit.table not in tables:
                raise MusterError("table", f"{fit.table!r} was not given", f"Tables: {', '.join(tables)}")
            table = tables[fit.table]
            require_columns(table, [fit.along], "along")
            require_columns(table, [fit.response], "response")
            require_columns(table, estimator.needs, "table")
            chosen = select(table, fit.select)
            if chosen.empty:
                primary = primary_variant(fit, estimator.variants)
                none, note = no_estimates(estimator.variants), "the selection is empty"
                empty = fit_rows({}, none, primary, status="no_rows", note=note, counts=Counts(0, 0))
                made = FitResult(pd.DataFrame(empty))
            else:
                made = estimator.function(chosen, fit)
        fits = made.fits
        if (fits["parameter"] == "").any():
            fits = fits.assign(parameter=fits["parameter"].replace("", estimator.first(fit)))
        head = {"study": study.study, "fit": name}
        all_fits.append(fits.assign(**head, estimator=fit.estimator))
        if len(made.optima):
            all_optima.append(made.optima.assign(**head))
        if len(made.predictions):
            all_predictions.append(made.predictions.assign(**head))
    return StudyFits(
        _stacked(all_optima, OPTIMUM_COLUMNS),
        _stacked(all_fits, FIT_COLUMNS),
        _stacked(all_predictions, PREDICTION_COLUMNS),
    )


def _stacked(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns)))[list(columns)]
