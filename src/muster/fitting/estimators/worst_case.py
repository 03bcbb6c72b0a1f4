"""The worst of many cases against a closed form: for claims that hold whatever the case."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import stats

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, plain
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.fitting.estimators.closed_form import ClosedFormOptions, log_ratios
from muster.fitting.frames import keys, require_columns, require_unique
from muster.fitting.per_group import per_group
from muster.statistics.components import Component
from muster.statistics.linear import Estimate

VARIANTS = ("simultaneous",)
LEVEL = 0.05


class WorstCaseOptions(ClosedFormOptions):
    """Options of `worst_case`."""

    side: Literal["both", "above"] = Field(
        "both", description="both: farthest from the formula; above: highest over it, for a formula that is a bound"
    )
    least_draws: int = Field(ge=3, description="Draws behind each row's error, at least: its t has one degree less")


def _check(options: WorstCaseOptions) -> None:
    if options.formula not in CLOSED_FORMS:
        raise MusterError("options.formula", f"unknown name {options.formula!r}", CLOSED_FORMS.remedy(options.formula))


def worst_case(rows: pd.DataFrame, fit: FitConfig, options: WorstCaseOptions) -> Iterator[Fitted]:
    """ln(measured / closed form) of the row that is worst for the claim on all rows: that with the highest upper limit.

    All K rows lie within a bound if the highest of their upper limits does. All are kept in the diagnostics, and which
    of them decides, with which error, depends on the claimed bound (`statistics.components`): support of all needs no
    correction, refutation by any of them does. The row itself, without a bound, is the worst with an error that makes
    its 95 % interval one of K at level 5 %/K (Bonferroni), as it was picked from K.
    """
    _check(options)
    require_columns(rows, ["width", "se", fit.response], "response")
    if "layer" in rows.columns:
        rows = rows[(rows["layer"] >= options.min_layer) & (rows["layer"] <= options.max_ratio * rows["width"])]
    ratios = log_ratios(rows, fit.response, CLOSED_FORMS[options.formula])
    ratios = ratios[np.isfinite(ratios["log_se"])].reset_index(drop=True)
    if ratios.empty:
        yield Fitted({}, status="too_few", note="no row with an error in the range of the formula")
        return
    require_unique(ratios, keys(rows))
    dof, cases = options.least_draws - 1, len(ratios)
    one, each = stats.t.isf(LEVEL / 2, dof), stats.t.isf(LEVEL / 2 / cases, dof)
    off = ratios["log_ratio"].abs() if options.side == "both" else ratios["log_ratio"]
    worst = ratios.loc[(off + each * ratios["log_se"]).idxmax()]
    estimates = {
        "simultaneous": Estimate(float(worst["log_ratio"]), float(worst["log_se"] * each / one), dof),
    }
    numbers = ratios[[fit.along, "log_ratio", "log_se"]].to_numpy(float)
    components = [Component(at, ratio, error, dof)._asdict() for at, ratio, error in numbers.tolist()]
    varying = [column for column in keys(rows) if ratios[column].nunique(dropna=False) > 1]
    where = ", ".join(f"{column} {plain(worst[column])}" for column in varying)
    yield Fitted(
        estimates,
        note=f"worst of {cases}: {where}",
        x=np.sort(ratios[fit.along].unique().astype(float)),
        diagnostics={"components": components, "of": "simultaneous"},
    )


ESTIMATORS.register("worst_case")(
    per_group(
        "ln(measured / closed form) of the worst row, for claims about every case",
        worst_case,
        VARIANTS,
        min_points=1,
        parameters=("log_ratio",),
        needs=("width", "se"),
        options=WorstCaseOptions,
        check=_check,
        source="Every row: intersection–union test (Berger 1982), refuted by Bonferroni's bound",
        assumes="Each row's error is that of the mean of independent draws, near enough normal",
        fails="Rows of heavy-tailed draws, whose error is itself too small; of many rows one must lie "
        "far beyond a bound to refute it",
    )
)
