"""Log-linear regression: exponents of one or several variables in a table of runs, clustered or not."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, no_estimates
from muster.fitting.frames import count, natural_log, require_columns, require_distinct_runs
from muster.fitting.per_group import per_group
from muster.fitting.usable import usable_rows
from muster.statistics.linear import Estimate, jackknife
from muster.statistics.wild_bootstrap import wild_cluster

Array = NDArray[np.float64]

VARIANTS = ("ols_t", "hc3", "cluster_t", "wild_cluster")
MAX_CONDITION = 1e8  # of the standardized design; beyond it the columns are one another's combinations


class RegressionOptions(NoOptions):
    """Options of `regression`."""

    variables: list[str] = Field(
        default_factory=list,
        description="Variables, one exponent each; `along` alone if absent. log2_… enters as it is",
    )
    clusters: str | None = Field(
        None, description="Column whose rows belong together (a family of runs, a paper): errors are robust to that"
    )


def regression(rows: pd.DataFrame, fit: FitConfig, options: RegressionOptions) -> Iterator[Fitted]:
    """Exponents ∂ ln y / ∂ ln x of a response in one or several variables, a row each, named after the variable; the
    intercept is ln y where all variables are 1.

    Least squares with t(n − p), HC3 with t(n − p), and, when `clusters` is given, cluster-robust errors with t(G − 1)
    and the wild cluster bootstrap. Then `cluster_t` decides unless the fit says otherwise, else `ols_t`. A design
    without full rank gives status `collinear`, fewer rows than n = p + 1 `too_few`. Raises a MusterError for
    non-numeric columns, duplicated runs and values without a logarithm.
    """
    on = options.variables or [fit.along]
    if fit.response in on or len(set(on)) < len(on):
        raise MusterError("options.variables", f"{', '.join(on)}", f"Name each variable once, without {fit.response!r}")
    require_columns(rows, [*filter(None, [options.clusters])], "options.clusters")
    require_distinct_runs(rows)
    used, left_out = usable_rows(rows, [fit.response, *on])
    y = natural_log(used, fit.response, "response")
    design = np.column_stack([np.ones(len(used)), *(natural_log(used, name, "options.variables") for name in on)])
    clusters = pd.factorize(used[options.clusters])[0] if options.clusters else None
    status, note = judge_design(design, on)
    notes = [note, left_out]
    found = {name: no_estimates(VARIANTS) for name in on}
    if status == "ok":
        found = coefficients(y, design, clusters, on)
    if clusters is not None:
        notes.append(f"{len(set(clusters))} clusters of {options.clusters}")
    for name in on:
        yield Fitted(
            found[name],
            parameter=name,
            primary="cluster_t" if options.clusters else None,
            status=status,
            note=", ".join(filter(None, notes)),
            counts=count(used),
            x=used[fit.along].to_numpy(float) if fit.along in used else (),
        )


def judge_design(design: Array, on: list[str]) -> tuple[str, str]:
    """Status and note: whether the rows can tell the variables apart."""
    rows, columns = design.shape
    if rows <= columns:
        return "too_few", f"{rows} usable rows for {columns} coefficients"
    spread = design[:, 1:].std(axis=0)
    constant = [name for name, each in zip(on, spread, strict=True) if each < 1e-12]
    if constant:
        return "collinear", f"{', '.join(constant)} does not vary"
    condition = float(np.linalg.cond((design[:, 1:] - design[:, 1:].mean(axis=0)) / spread))
    if condition > MAX_CONDITION:
        return "collinear", f"{', '.join(on)} vary together only: their exponents cannot be told apart"
    return "ok", ""


def coefficients(
    y: Array, design: Array, clusters: NDArray[np.intp] | None, names: list[str]
) -> dict[str, dict[str, Estimate]]:
    """Every variant of each slope: y [n] on design [n, 1 + V], whose first column is 1. n > 1 + V.

    `cluster_t` leaves out one cluster at a time (CR3; Bell & McCaffrey 2002; MacKinnon, Nielsen & Webb 2023), t(G − 1):
    with few clusters the usual sandwich, CR1, is too short. Clustered variants need more clusters than coefficients:
    their covariance has rank G − 1 at most.
    """
    from statsmodels.regression.linear_model import OLS

    model = OLS(y, design)
    fits = {"ols_t": model.fit(), "hc3": model.fit(cov_type="HC3", use_t=True)}
    enough = clusters is not None and clusters.max() + 1 > design.shape[1]
    robust, partial = None, np.empty((0, 0))
    if clusters is not None and enough:
        robust = model.fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
        partial = np.array([_without(y, design, clusters != each) for each in range(clusters.max() + 1)])
    found = {}
    for column, name in enumerate(names, start=1):
        each = no_estimates(VARIANTS)
        for variant, fit in fits.items():
            each[variant] = Estimate(fit.params[column], _errors(fit)[column], fit.df_resid, fit.params[0])
        if clusters is not None and robust is not None:
            clustered = Estimate(robust.params[column], _errors(robust)[column], clusters.max(), robust.params[0])
            each["cluster_t"] = clustered._replace(se=jackknife(partial[:, column]))
            each["wild_cluster"] = wild_cluster(y, design, clusters, column, clustered)
        found[name] = each
    return found


def _errors(fit: Any) -> Array:
    """Standard errors of all coefficients. A sandwich of residuals that are rounding alone may leave a variance of that
    size below zero."""
    return np.asarray(np.sqrt(np.abs(np.diag(fit.cov_params()))))


def _without(y: Array, design: Array, kept: NDArray[np.bool_]) -> Array:
    """The coefficients without one cluster; NaN where the others do not tell them apart."""
    beta, _, rank, _ = np.linalg.lstsq(design[kept], y[kept], rcond=None)
    return np.asarray(beta if rank == design.shape[1] else np.full(design.shape[1], np.nan))


ESTIMATORS.register("regression")(
    per_group(
        "Exponents of a response in one or several variables, with clustered errors: ∂ ln y / ∂ ln x",
        regression,
        VARIANTS,
        min_points=3,
        needs=(),
        options=RegressionOptions,
        more=lambda fit: fit.options.get("variables") or [fit.along],
        source="MacKinnon & White 1985 (HC3); Bell & McCaffrey 2002 (clusters left out); Cameron, Gelbach & "
        "Miller 2008 and Webb 2014 (wild bootstrap)",
        assumes="ln response linear in the logarithms; rows independent (ols_t: of one variance), or clusters are",
        fails="Clusters that nobody names make intervals too short. An offset E > 0 bends the line and flattens "
        "exponents",
    )
)
