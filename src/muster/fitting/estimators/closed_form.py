"""Comparison with a closed form: the mean of ln(measured / formula) over shapes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import (
    ESTIMATORS,
    Counts,
    Estimator,
    FitResult,
    NoOptions,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import MEMBER_PREFIX, WITHIN_RUN, count, groups, keys, require_columns, require_unique
from muster.registry import Registry
from muster.statistics.linear import mean_reml_kh, mean_t

Formula = Callable[[pd.DataFrame], pd.Series]
CLOSED_FORMS: Registry[Formula] = Registry("closed form")
VARIANTS = ("reml_kh", "cluster_t")


@CLOSED_FORMS.register("relu_kurtosis_ratio")
def relu_kurtosis_ratio(table: pd.DataFrame) -> pd.Series:
    """E z⁴ / (3 (E z²)²) = (1 + 5/n)^ℓ for bias-free He ReLU layers of width n (Hanin 2022; exact)."""
    return (1 + 5 / table["width"]) ** table["layer"]


@CLOSED_FORMS.register("relu_log_norm_var")
def relu_log_norm_var(table: pd.DataFrame) -> pd.Series:
    """Var ln ‖z_ℓ‖² ≈ 5 ℓ/n for bias-free He ReLU layers of width n (Hanin 2022; first order in 1/n)."""
    return 5 * table["layer"] / table["width"]


@CLOSED_FORMS.register("tanh_norm_var")
def tanh_norm_var(table: pd.DataFrame) -> pd.Series:
    """Var S / (E S)² ≈ (2/3) ℓ/n for critical tanh layers, S = ‖z_ℓ‖²/n (Hanin 2022; Roberts, Yaida & Hanin 2021)."""
    return 2 / 3 * table["layer"] / table["width"]


@CLOSED_FORMS.register("ks_gaussian_product")
def ks_gaussian_product(table: pd.DataFrame) -> pd.Series:
    """KS distance from U[0, 1] of the squared singular values^(1/N) of a product of N → ∞ Gaussian n × n matrices ≈ 1/n
    (from the Lyapunov spectrum; Hanin & Jiang 2025)."""
    return 1 / table["width"]


class ClosedFormOptions(NoOptions):
    """Options of `closed_form`."""

    formula: str = Field(description="A registered closed form: see `muster list closed_forms`")
    min_layer: int = Field(1, ge=1, description="First layer that enters: formulas that hold for deep layers")
    max_ratio: float = Field(np.inf, gt=0, description="Largest layer/width that enters: formulas of first order in it")


def log_ratios(table: pd.DataFrame, response: str, formula: Formula) -> pd.DataFrame:
    """The rows with `log_ratio` = ln(measured / formula) and `log_se`, its Monte-Carlo error (NaN where none is
    given)."""
    measured = table[response].astype(float)
    if not (np.isfinite(measured) & (measured > 0)).all():
        raise MusterError("response", f"{response} is not positive and finite everywhere", "Select the rows that are")
    se = table["se"].astype(float) / measured if "se" in table.columns else np.nan
    return table.assign(log_ratio=np.log(measured / formula(table)), log_se=se)


def closed_form(table: pd.DataFrame, fit: FitConfig) -> FitResult:
    """Mean of ln(measured / closed form) over shapes; 0 means that the formula holds.

    Layers of one cell come from the same draws: they are averaged, and so are their errors, which is exact for full
    correlation and an upper bound otherwise. Seeds of one shape are averaged as independent. Without Monte-Carlo
    errors, the spread over seeds serves; without seeds either, the between-shape variance carries all. Variants:
    `reml_kh`, a random-effects mean over shapes; `cluster_t`, the mean of each value of the axis, then t over those.
    """
    options = parse_options(ClosedFormOptions, fit)
    try:
        formula = CLOSED_FORMS[options.formula]
    except MusterError as error:
        raise MusterError("options.formula", error.found, error.remedy) from None
    require_columns(table, ["seed", "width", fit.response], "response")
    if "layer" in table.columns:
        table = table[(table["layer"] >= options.min_layer) & (table["layer"] <= options.max_ratio * table["width"])]
    primary = primary_variant(fit, VARIANTS)
    fits: list[dict[str, Any]] = []
    for group, rows in groups(table, fit.by):
        if rows.empty:
            none = "no row in the range of the formula"
            fits += fit_rows(group, nothing(VARIANTS), primary, status="too_few", note=none, counts=Counts(0, 0))
            continue
        require_unique(rows, [column for column in keys(rows) if not column.startswith(MEMBER_PREFIX)])
        cell = [column for column in keys(rows) if column not in WITHIN_RUN]
        shape = [column for column in cell if column != "seed"]
        cells = (
            log_ratios(rows, fit.response, formula)
            .groupby(cell, as_index=False, dropna=False)[["log_ratio", "log_se"]]
            .mean()
        )
        shapes = cells.groupby(shape, as_index=False, dropna=False).agg(
            log_ratio=("log_ratio", "mean"),
            seeds=("log_ratio", "size"),
            spread=("log_ratio", "std"),
            monte_carlo=("log_se", lambda errors: np.sqrt(np.square(errors.to_numpy()).sum()) / len(errors)),
        )
        se = shapes["monte_carlo"].fillna(shapes["spread"] / np.sqrt(shapes["seeds"])).fillna(0.0)
        by_x = shapes.groupby(fit.along)["log_ratio"].mean()
        note = f"{options.formula} over {len(shapes)} shapes"
        if len(shapes) < 2:
            fits += fit_rows(
                group, nothing(VARIANTS), primary, status="too_few", note=f"{note}, 2 are needed", counts=count(rows)
            )
            continue
        estimates = {"reml_kh": mean_reml_kh(shapes["log_ratio"], se), "cluster_t": mean_t(by_x)}
        fits += fit_rows(group, estimates, primary, note=note, counts=count(rows), x=by_x.index.to_numpy(float))
    return FitResult(pd.DataFrame(fits))


ESTIMATORS.register("closed_form")(
    Estimator(
        "Mean of ln(measured / closed form) over shapes",
        closed_form,
        VARIANTS,
        min_points=2,
        parameters=("log_ratio",),
        needs=("seed", "width"),
        options=ClosedFormOptions,
        source="Random-effects mean: Viechtbauer 2005, Knapp & Hartung 2003; formulas: see `muster list closed_forms`",
        assumes="The relative deviation from the formula is one number, with independent scatter between shapes",
        fails="Deviations of opposite sign at small and large shapes cancel in a mean; a formula of first order in "
        "layer/width needs `max_ratio`",
    )
)
