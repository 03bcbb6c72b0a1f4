"""Estimators: tables of runs and probes become exponents with intervals, degrees of freedom and a status.

One module per estimator; each registers an `Estimator` in `ESTIMATORS` under the name that a study's YAML uses.
"""

from muster.fitting import closed_form, lr_transfer, mean, monotone, ordering, power_law, regret
from muster.fitting.base import ESTIMATORS, FIT_COLUMNS, OPTIMUM_COLUMNS, Estimator, FitResult, group_key
from muster.fitting.closed_form import CLOSED_FORMS
from muster.fitting.study import check_fit, fit_study

__all__ = [
    "CLOSED_FORMS",
    "ESTIMATORS",
    "FIT_COLUMNS",
    "OPTIMUM_COLUMNS",
    "Estimator",
    "FitResult",
    "check_fit",
    "closed_form",
    "fit_study",
    "group_key",
    "lr_transfer",
    "mean",
    "monotone",
    "ordering",
    "power_law",
    "regret",
]
