"""How most estimators are declared: a function of the rows of one group, called for each group of a fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    Estimator,
    FitResult,
    Fitted,
    NoOptions,
    Optima,
    Predictions,
    fit_rows,
    group_key,
    no_estimates,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import count, groups

Options = TypeVar("Options", bound=NoOptions)
Found = Fitted | Optima | Predictions
OfGroup = Callable[
    [pd.DataFrame, FitConfig, Options], Iterator[Fitted] | Iterator[Fitted | Optima] | Iterator[Fitted | Predictions]
]
FAILED = "failed"  # status of a group that its estimator cannot make anything of, while it can of others


def per_group(
    summary: str,
    function: OfGroup[Options],
    variants: Sequence[str],
    *,
    options: type[Options] = NoOptions,  # type: ignore[assignment]
    **declared: Any,
) -> Estimator:
    """An estimator from a function (rows of one group, fit, options) → what is fitted there.

    options: the model that the fit's options are read with. declared: further fields of `Estimator`. A group without
    estimates gets a row without a number for every variant, so that nothing can be decided from it. So does one whose
    rows the estimator refuses, with what it said, as long as there is another whose rows it takes.
    """

    def estimate(table: pd.DataFrame, fit: FitConfig) -> FitResult:
        chosen, primary = parse_options(options, fit), primary_variant(fit, variants)
        fits: list[dict[str, Any]] = []
        optima: list[dict[str, Any]] = []
        predictions: list[pd.DataFrame] = []
        parts = [*groups(table, fit.by)]
        refused: list[MusterError | np.linalg.LinAlgError] = []
        for group, rows in parts:
            made: list[Found] = []
            try:
                made = [*function(rows, fit, chosen)]
            except (MusterError, np.linalg.LinAlgError) as error:
                refused.append(error)
                made = [Fitted({}, parameter=name, status=FAILED, note=str(error)) for name in made_by.numbers(fit)]
            for found in made:
                if isinstance(found, Optima):
                    optima += [row | {"group": group_key({**group, **row["group"]})} for row in found.rows]
                elif isinstance(found, Predictions):
                    predictions.append(found.rows.assign(group=group_key(group)))
                else:
                    fits += rows_of_fitted(group, found, variants, fit.primary or found.primary or primary, rows)
        if refused and len(refused) == len(parts):
            raise refused[0]
        predicted = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
        return FitResult(pd.DataFrame(fits), pd.DataFrame(optima), predicted)

    made_by = Estimator(summary, estimate, tuple(variants), options=options, **declared)
    return made_by


def rows_of_fitted(
    group: Mapping[str, Any], found: Fitted, variants: Sequence[str], primary: str, rows: pd.DataFrame
) -> list[dict[str, Any]]:
    """What was fitted to the rows of one group as rows of `fits`; without estimates, one without a number a variant."""
    return fit_rows(
        group,
        found.estimates or no_estimates(variants),
        primary,
        parameter=found.parameter,
        status=found.status,
        note=found.note,
        counts=found.counts or count(rows),
        x=found.x,
        diagnostics=found.diagnostics,
        certificate=found.certificate,
    )
