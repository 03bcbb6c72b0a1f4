"""Estimators: tables of runs and probes become exponents with intervals, degrees of freedom and a status.

One module per estimator; each registers an `Estimator` in `ESTIMATORS` under the name that a study's YAML uses.
"""

from muster.fitting.base import ESTIMATORS, FIT_COLUMNS, OPTIMUM_COLUMNS, Estimator, FitResult, group_key
from muster.fitting.closed_forms import (
    dynamics as closed_forms_dynamics,
)
from muster.fitting.closed_forms import (
    features as closed_forms_features,
)
from muster.fitting.closed_forms import (
    hessian as closed_forms_hessian,
)
from muster.fitting.closed_forms import (
    networks as closed_forms_networks,
)
from muster.fitting.closed_forms import (
    regression as closed_forms_regression,
)
from muster.fitting.estimators import (
    closed_form,
    collapse,
    expected_max,
    exponents,
    first_passage,
    forms,
    interval_exponents,
    isoflop,
    lr_batch_surface,
    lr_sensitivity,
    lr_transfer,
    mean,
    monotone,
    ordering,
    power_law,
    regression,
    regret,
    slope_equality,
    threshold,
)
from muster.fitting.estimators.closed_form import CLOSED_FORMS
from muster.fitting.laws import (
    annealing,
    data_constrained,
    error_law,
    joint,
    overtraining,
    parallel,
    power_offset,
    routed,
)
from muster.fitting.study import check_fit, fit_study

__all__ = [
    "CLOSED_FORMS",
    "ESTIMATORS",
    "FIT_COLUMNS",
    "OPTIMUM_COLUMNS",
    "Estimator",
    "FitResult",
    "annealing",
    "check_fit",
    "closed_form",
    "closed_forms_dynamics",
    "closed_forms_features",
    "closed_forms_hessian",
    "closed_forms_networks",
    "closed_forms_regression",
    "collapse",
    "data_constrained",
    "error_law",
    "expected_max",
    "exponents",
    "first_passage",
    "fit_study",
    "forms",
    "group_key",
    "interval_exponents",
    "isoflop",
    "joint",
    "lr_batch_surface",
    "lr_sensitivity",
    "lr_transfer",
    "mean",
    "monotone",
    "ordering",
    "overtraining",
    "parallel",
    "power_law",
    "power_offset",
    "regression",
    "regret",
    "routed",
    "slope_equality",
    "threshold",
]
