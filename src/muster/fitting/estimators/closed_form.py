"""Comparison with a closed form: the mean of ln(measured / formula) over shapes."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Counts, Fitted, NoOptions
from muster.fitting.closed_forms.base import CLOSED_FORMS, Formula
from muster.fitting.frames import MEMBER_PREFIX, WITHIN_RUN, keys, require_columns, require_unique
from muster.fitting.per_group import per_group
from muster.statistics.linear import mean_reml_kh, mean_t, wider

VARIANTS = ("reml_kh", "cluster_t")


class ClosedFormOptions(NoOptions):
    """Options of `closed_form`."""

    formula: str = Field(
        description="A registered closed form: see `muster list closed_forms`", examples=["relu_log_norm_var"]
    )
    min_layer: int = Field(1, ge=1, description="First layer that enters: formulas that hold for deep layers")
    max_ratio: float = Field(np.inf, gt=0, description="Largest layer/width that enters: formulas of first order in it")


def _check(options: ClosedFormOptions) -> None:
    if options.formula not in CLOSED_FORMS:
        raise MusterError("options.formula", f"unknown name {options.formula!r}", CLOSED_FORMS.remedy(options.formula))


def log_ratios(table: pd.DataFrame, response: str, formula: Formula) -> pd.DataFrame:
    """The rows with `log_ratio` = ln(measured / formula) and `log_se`, its Monte-Carlo error (NaN where none is
    given)."""
    measured = table[response].astype(float)
    if not (np.isfinite(measured) & (measured > 0)).all():
        raise MusterError("response", f"{response} is not positive and finite everywhere", "Select the rows that are")
    se = table["se"].astype(float) / measured if "se" in table.columns else np.nan
    return table.assign(log_ratio=np.log(measured / formula(table)), log_se=se)


def closed_form(rows: pd.DataFrame, fit: FitConfig, options: ClosedFormOptions) -> Iterator[Fitted]:
    """Mean of ln(measured / closed form) over shapes; 0 means that the formula holds.

    Layers of one cell come from the same draws: they are averaged, and so are their errors, which is exact for full
    correlation and an upper bound otherwise. Seeds of one shape are averaged as independent. Without Monte-Carlo
    errors, the spread over seeds serves; without seeds either, the between-shape variance carries all. Variants:
    `reml_kh`, a random-effects mean over shapes, or plain t over them where that is wider; `cluster_t`, the mean of
    each value of the axis, then t over those.
    """
    _check(options)
    formula = CLOSED_FORMS[options.formula]
    require_columns(rows, ["seed", "width", fit.response], "response")
    if "layer" in rows.columns:
        rows = rows[(rows["layer"] >= options.min_layer) & (rows["layer"] <= options.max_ratio * rows["width"])]
    if rows.empty:
        none = "no row in the range of the formula"
        yield Fitted({}, status="too_few", note=none, counts=Counts(0, 0))
        return
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
        yield Fitted({}, status="too_few", note=f"{note}, 2 are needed")
        return
    random = wider(mean_reml_kh(shapes["log_ratio"], se), mean_t(shapes["log_ratio"]))
    estimates = {"reml_kh": random, "cluster_t": mean_t(by_x)}
    yield Fitted(estimates, note=note, x=by_x.index.to_numpy(float))


ESTIMATORS.register("closed_form")(
    per_group(
        "Mean of ln(measured / closed form) over shapes",
        closed_form,
        VARIANTS,
        min_points=2,
        parameters=("log_ratio",),
        needs=("seed", "width"),
        options=ClosedFormOptions,
        check=_check,
        source="Random-effects mean: Viechtbauer 2005, Knapp & Hartung 2003; formulas: see `muster list closed_forms`",
        assumes="The relative deviation from the formula is one number, with independent scatter between shapes",
        fails="Deviations of opposite sign at small and large shapes cancel in a mean; a formula of first order in "
        "layer/width needs `max_ratio`",
    )
)
