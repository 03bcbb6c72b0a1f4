"""Laws of exponents: how the exponent of a response depends on an axis, and whether two exponents are equal.

First stage: for each value of the column `across`, the slope d ln y / d ln x by least squares over the values of x, a
value being the geometric mean over seeds. Second stage: those slopes as data, with their errors.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, PairOptions
from muster.fitting.frames import best_members, count, levels, positive_axis, require_columns, select
from muster.fitting.per_group import per_group
from muster.statistics.linear import Estimate, curvature_p, mean_reml_kh, mean_t, meta_regression, slope_ols, wider

Array = NDArray[np.float64]

TREND_VARIANTS = ("reml_kh", "ols_t")
PAIR_VARIANTS = ("reml_kh", "paired_t")
TREND_PARAMETERS = ("slope", "intercept")


class AcrossOptions(NoOptions):
    """Options of both estimators."""

    across: str = Field(description="Column each of whose values has an exponent of its own")
    best_over: str | None = Field(
        None, description="Member axis (log2_lr) whose best value is taken per x; absent: one row per x and seed"
    )


class TrendOptions(AcrossOptions):
    """Options of `exponent_trend`."""

    factor: float = Field(1.0, description="The exponents are regressed on factor × across^power")
    power: float = Field(1.0, description="See factor; −1 with factor −4 and across = d means −4/d")


class DifferenceOptions(AcrossOptions, PairOptions):
    """Options of `exponent_difference`."""

    along_b: str | None = Field(None, description="Axis of group b where it is not that of a")


def exponents(rows: pd.DataFrame, fit: FitConfig, along: str, options: AcrossOptions) -> pd.DataFrame:
    """One row per value of `across` with three values of x or more: `across`, `estimate`, `se`, `dof`,
    `curvature_p`."""
    found = []
    for value, level in levels(rows, options.across):
        logs = best_members(level, fit.response, along, options.best_over).dropna(axis=1).mean()
        if len(logs) < 3:
            continue
        log_x = positive_axis(logs.index.to_numpy(float), along)
        line = slope_ols(log_x, logs)
        found.append((value, line.estimate, line.se, line.dof, curvature_p(log_x, logs)))
    return pd.DataFrame(found, columns=["across", "estimate", "se", "dof", "curvature_p"])


def _bent(found: pd.DataFrame, across: str) -> str:
    """Which lines are bent, in one clause."""
    bent = found["across"][found["curvature_p"] < 0.05]
    return f"curvature p < 0.05 at {across} {' '.join(f'{value:g}' for value in bent)}" if len(bent) else ""


def trend(x: Array, y: Array, se: Array) -> dict[str, dict[str, Estimate]]:
    """Slope and intercept of exponents y [G] with errors se [G] on x [G], G ≥ 3, by every variant."""
    from statsmodels.regression.linear_model import OLS

    design = np.column_stack([x, np.ones_like(x)])
    line = OLS(y, design).fit()
    random = meta_regression(y, np.square(se), design)
    found = {}
    for i, name in enumerate(TREND_PARAMETERS):
        plain = Estimate(line.params[i], line.bse[i], line.df_resid, line.params[1])
        weighted = Estimate(random.beta[i], float(np.sqrt(random.cov[i, i])), random.dof, random.beta[1])
        found[name] = {"reml_kh": wider(weighted, plain), "ols_t": plain}
    return found


def exponent_trend(rows: pd.DataFrame, fit: FitConfig, options: TrendOptions) -> Iterator[Fitted]:
    """Slope and intercept of the exponents d ln y / d ln x in factor × across^power; slope 1 and intercept 0 mean that
    the exponents are that expression.

    `reml_kh`: random-effects meta-regression, each exponent with its own error, or `ols_t` where that is wider;
    `ols_t`: all alike. Both t(G − 2) for G exponents; fewer than three give status `too_few`.
    """
    require_columns(rows, ["seed", options.across, fit.response], "options.across")
    found = exponents(rows, fit, fit.along, options)
    found["predictor"] = options.factor * np.exp(
        options.power * positive_axis(found["across"].to_numpy(float), options.across)
    )
    enough = len(found) >= 3
    estimates = trend(*found[["predictor", "estimate", "se"]].to_numpy(float).T) if enough else {}
    few = "" if enough else f"{len(found)} exponents, 3 are needed"
    for name in TREND_PARAMETERS:
        yield Fitted(
            estimates.get(name, {}),
            parameter=name,
            status="ok" if enough else "too_few",
            note=", ".join(filter(None, [few, _bent(found, options.across)])),
            x=found["across"].to_numpy(float),
            diagnostics={"exponents": found.to_dict("records")},
        )


def exponent_difference(rows: pd.DataFrame, fit: FitConfig, options: DifferenceOptions) -> Iterator[Fitted]:
    """Mean over the values of `across` of the difference of two groups' exponents, a − b; 0 means equal exponents.

    `reml_kh`: random-effects mean, each difference with its error, or `paired_t` where that is wider; `paired_t`: all
    alike. Both t(G − 1) for G pairs.
    """
    along_b = options.along_b or fit.along
    require_columns(rows, ["seed", options.across, fit.response], "options.across")
    require_columns(rows, [along_b], "options.along_b")
    sides = [
        (select(rows, options.a, "options.a"), fit.along),
        (select(rows, options.b, "options.b"), along_b),
    ]
    a, b = (exponents(side, fit, along, options) for side, along in sides)
    pairs = a.merge(b, on="across", suffixes=("_a", "_b"))
    gap = pairs["estimate_a"] - pairs["estimate_b"]
    enough = len(pairs) >= 2
    estimates = {
        "reml_kh": wider(mean_reml_kh(gap, np.hypot(pairs["se_a"], pairs["se_b"])), mean_t(gap)),
        "paired_t": mean_t(gap),
    }
    notes = [f"{len(pairs)} pairs", "" if enough else "2 are needed"]
    notes += [_bent(each, f"{side}: {options.across}") for side, each in (("a", a), ("b", b))]
    yield Fitted(
        estimates if enough else {},
        status="ok" if enough else "too_few",
        note=", ".join(filter(None, notes)),
        counts=count(pd.concat([side for side, _ in sides])),
        x=pairs["across"].to_numpy(float),
        diagnostics={"pairs": pairs.to_dict("records")},
    )


SOURCE = "Random effects: Viechtbauer 2005, Knapp & Hartung 2003; with the test `equivalence`, Schuirmann 1987"

ESTIMATORS.register("exponent_trend")(
    per_group(
        "How the exponent of a response depends on an axis: its regression on factor × across^power",
        exponent_trend,
        TREND_VARIANTS,
        min_points=3,
        parameters=TREND_PARAMETERS,
        options=TrendOptions,
        source=SOURCE,
        assumes="ln y linear in ln x at every value of `across`; the exponents scatter independently around the line",
        fails="Bent curves have exponents that depend on the range of x (see the note); three or four exponents leave "
        "one or two degrees of freedom",
    )
)
ESTIMATORS.register("exponent_difference")(
    per_group(
        "Difference of two groups' exponents (a − b), paired over the values of a column",
        exponent_difference,
        PAIR_VARIANTS,
        min_points=1,  # of group a's axis over both groups: the points of each are counted when it is fitted
        parameters=("difference",),
        options=DifferenceOptions,
        source=SOURCE,
        assumes="As `exponent_trend`; one mean difference at all values of `across`",
        fails="Differences of opposite sign cancel in the mean; bent curves differ in slope without differing in law",
    )
)
