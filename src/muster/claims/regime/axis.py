"""What several checks read of a claim's measurements: its rows, its points over the axis, its optima, its group."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.claims.regime.base import Checked, Measured
from muster.config.models import ClaimConfig, FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, group_key, parse_options
from muster.fitting.estimators.power_law import PowerLawOptions, choose_statistic
from muster.fitting.frames import complete_seeds, levels, require_columns, select

Array = NDArray[np.float64]


def rows_of(measured: Measured, table: str | None = None, *, apart_from: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a table that belong to the claim: those that its fit selects, of its group.

    Of another table than the fit's, only the columns that it has are asked for. apart_from: columns in which a check
    looks elsewhere than the fit, such as another probe. Raises a MusterError for a table that was not given.
    """
    name = table or measured.fit.table
    if name not in measured.tables:
        raise MusterError("table", f"{name!r} was not given", f"Tables: {', '.join(measured.tables)}")
    rows = measured.tables[name]
    wanted = {**measured.fit.select, **measured.claim.where}
    wanted = {column: value for column, value in wanted.items() if column not in apart_from}
    if name != measured.fit.table:
        wanted = {column: value for column, value in wanted.items() if column in rows.columns}
    return select(rows, wanted, "where")


def refit(measured: Measured, rows: pd.DataFrame) -> float:
    """The claim's number from some of its rows, by the variant that decides it; NaN without one."""
    estimator = ESTIMATORS[measured.fit.estimator]
    fits = estimator.function(rows, measured.fit).fits
    fits = fits[fits["primary"] & (fits["group"] == group_key(measured.claim.where)) & (fits["status"] == "ok")]
    names = fits["parameter"].replace("", estimator.first(measured.fit))
    found = fits[names == parameter_of(measured.claim, measured.fit)]
    return float(found["estimate"].iloc[0]) if len(found) else float("nan")


def parameter_of(claim: ClaimConfig, fit: FitConfig) -> str:
    """The number of a fit that a claim is about."""
    return claim.parameter or ESTIMATORS[fit.estimator].first(fit)


def optima_of(measured: Measured, where: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The optima of the claim's fit and group, in the order of the axis; empty where the fit makes none."""
    optima = measured.optima
    group = group_key(measured.claim.where if where is None else where)
    if optima.empty:
        return optima
    return optima[(optima["fit"] == measured.claim.fit) & (optima["group"] == group)].sort_values("x")


def optima_within(measured: Measured) -> pd.DataFrame:
    """The optima of the claim's group, or those of its parts where the estimator divides it itself: into the two sides
    of a difference, or the cells of a surface."""
    own, optima = optima_of(measured), measured.optima
    if len(own) or optima.empty:
        return own
    wanted = json.loads(group_key(measured.claim.where)).items()
    inside = np.array([wanted <= json.loads(group).items() for group in optima["group"]])
    return optima[(optima["fit"] == measured.claim.fit) & inside].sort_values("x")


def points_of(measured: Measured) -> tuple[Array, Array]:
    """ln x and ln y [W] of the line that the fit draws: interior optima, or means of a power law; empty otherwise."""
    optima = optima_of(measured)
    if len(optima):
        inside = optima[optima["status"] == "interior"]
        return np.log(inside["x"].to_numpy(float)), inside["log2_lr_opt"].to_numpy(float) * np.log(2)
    if measured.fit.estimator != "power_law":
        return np.empty(0), np.empty(0)
    options = parse_options(PowerLawOptions, measured.fit)
    x, y = [], []
    for value, level in levels(rows_of(measured), measured.fit.along):
        matrix, _ = complete_seeds(level, measured.fit.response, options.pool)
        if len(matrix) and (matrix > 0).all() and np.isfinite(found := choose_statistic(options)(matrix)):
            x.append(value)
            y.append(found)
    return np.log(np.asarray(x, float)), np.asarray(y, float)


def numeric(rows: pd.DataFrame, column: str, field: str) -> Array:
    """A column as numbers [R]; a MusterError names the option `field` when it is missing or holds none."""
    require_columns(rows, [column], field)
    values = pd.to_numeric(rows[column], errors="coerce")
    if values.isna().all() and len(values):
        raise MusterError(field, f"column {column!r} holds no numbers", "Name a column that does")
    return np.asarray(values, float)


def nothing(low: float, high: float, why: str) -> Checked:
    """A check that the data do not allow."""
    return Checked(float("nan"), low, high, why)


def shown(values: Sequence[float] | Array) -> str:
    return " ".join(f"{value:.3g}" for value in values)
