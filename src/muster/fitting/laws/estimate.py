"""From a law to an estimator: rows in, one row per parameter out, with intervals, diagnostics and certificate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from muster.config.models import FitConfig
from muster.fitting.base import (
    ESTIMATORS,
    Estimator,
    FitResult,
    fit_rows,
    nothing,
    parse_options,
    primary_variant,
)
from muster.fitting.frames import count, groups, require_columns
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.interval import bootstrap, influence, lower_edge, profile
from muster.fitting.laws.linear_scale import linear_scale
from muster.fitting.laws.options import LawOptions, check_options
from muster.fitting.laws.predict import held_out, predict_interval, spread
from muster.fitting.laws.published import hold_against
from muster.fitting.laws.solve import LawFit, fit_law, robust_delta, robust_sd
from muster.fitting.laws.table import design_problem, usable_rows
from muster.statistics.linear import Estimate

VARIANTS = ("fit",)
# Refits without each row in turn are made up to this many rows: their number and their price both grow with it.
_INFLUENCE_ROWS = 1000
_FAILED = 0.05  # share of replicates whose loss would move a 95 % interval too far


class Rows(NamedTuple):
    """Rows of a fit as arrays: x [V, R], y [R], labels of clusters or None, and the table they come from."""

    x: Array
    y: Array
    clusters: np.ndarray | None
    rows: pd.DataFrame


def _more(fit: FitConfig) -> list[str]:
    tested = [f"wald_{name}" for name in fit.options.get("published", {})]
    return [*tested, *(["extrapolation_error"] if fit.options.get("hold_out") else [])]


def law_estimator(
    law_name: str, *, source: str, assumes: str, fails: str, options: type[LawOptions] = LawOptions
) -> Estimator:
    """The estimator of a registered law, to be registered under the law's name.

    options: a subclass with other defaults. A law whose one variable is called `x` reads the column in `along`.
    """
    law = LAWS[law_name]

    def function(table: pd.DataFrame, fit: FitConfig) -> FitResult:
        return _fit_groups(law, table, fit, parse_options(options, fit))

    return Estimator(
        law.formula,
        function,
        VARIANTS,
        min_points=1,
        parameters=(*law.parameters, *law.derived),
        source=source,
        assumes=assumes,
        fails=fails,
        needs=(),
        options=options,
        more=_more,
    )


def _fit_groups(law: Law, table: pd.DataFrame, fit: FitConfig, options: LawOptions) -> FitResult:
    primary = primary_variant(fit, VARIANTS)
    check_options(law, options)
    require_columns(table, [options.clusters] if options.clusters else [], "options.clusters")
    require_columns(table, [options.hold_out.column] if options.hold_out else [], "options.hold_out.column")
    columns = law.columns(options.columns, fit.along)
    signed = [column for name, column in zip(law.variables, columns, strict=True) if name in law.signed]
    rows: list[dict[str, Any]] = []
    for group, part in groups(table, fit.by):
        usable = usable_rows(part, columns, fit.response, signed)
        inside, held = _split(usable.rows, fit.response, options)
        data, rest = (_data(each, columns, fit.response, options.clusters) for each in (inside, held))
        free = [name for name in law.parameters if name not in options.fixed]
        common: dict[str, Any] = {"counts": count(inside), "x": data.x[0]}
        if problem := design_problem(data.x, columns, len(free), signed):
            status, why = problem
            common |= {"status": status, "note": ", ".join(filter(None, [why, usable.note]))}
            for name in (*law.parameters, *law.derived):
                rows += fit_rows(group, nothing(VARIANTS), primary, parameter=name, **common)
            continue
        every = _data(usable.rows, columns, fit.response, options.clusters) if options.drop_largest_losses else None
        for result in _fit_one(law, data, rest, every, options):
            note = ", ".join(filter(None, [result.note, usable.note]))
            rows += fit_rows(
                group, {VARIANTS[0]: result.estimate}, primary, parameter=result.parameter, status=result.status,
                note=note, diagnostics=result.diagnostics, certificate=result.certificate, **common,
            )  # fmt: skip
    return FitResult(pd.DataFrame(rows))


def law_rows(law: Law, table: pd.DataFrame, fit: FitConfig) -> tuple[Rows, Rows]:
    """The rows of one group that a fit of a law uses, and those that it holds out, as figures show them."""
    options = parse_options(ESTIMATORS[fit.estimator].options, fit)
    assert isinstance(options, LawOptions)
    columns = law.columns(options.columns, fit.along)
    signed = [column for name, column in zip(law.variables, columns, strict=True) if name in law.signed]
    parts = _split(usable_rows(table, columns, fit.response, signed).rows, fit.response, options)
    inside, held = (_data(part, columns, fit.response, options.clusters) for part in parts)
    return inside, held


def _split(rows: pd.DataFrame, response: str, options: LawOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that are fitted, and rows that are predicted."""
    held = np.zeros(len(rows), bool)
    if (out := options.hold_out) is not None and len(rows):
        values = rows[out.column].to_numpy(float)
        held = values > (np.quantile(values, out.quantile) if out.quantile is not None else out.above)
    inside = rows[~held]
    if 0 < options.drop_largest_losses < len(inside):
        inside = inside[inside[response] < inside[response].nlargest(options.drop_largest_losses).min()]
    return inside, rows[held]


def _data(rows: pd.DataFrame, columns: list[str], response: str, clusters: str | None) -> Rows:
    labels = pd.factorize(rows[clusters])[0] if clusters else None
    return Rows(rows[columns].to_numpy(float).T, rows[response].to_numpy(float), labels, rows)


class _Row(NamedTuple):
    """One parameter of a fit, as `fit_rows` takes it."""

    parameter: str
    estimate: Estimate
    status: str
    note: str
    diagnostics: Mapping[str, Any]
    certificate: Mapping[str, Any]


def _fit_one(law: Law, data: Rows, rest: Rows, every: Rows | None, options: LawOptions) -> list[_Row]:
    """All rows of one fit: natural parameters, derived ones, published vectors, extrapolation."""
    linear = options.residual == "linear"
    # Refits minimize what the fit minimizes; all else is told of the law itself.
    solved, goal = (linear_scale(law), data._replace(y=np.exp(data.y))) if linear else (law, data)
    delta = _delta(solved, goal, options)
    found = fit_law(solved, goal.x, goal.y, delta=delta, fixed=options.fixed, thorough=options.thorough)
    fit = replace(found, law=law, residuals=np.log(data.y) - law.log_value(found.theta[None], data.x)[0][0])
    theta = bootstrap(found, goal.x, goal.y, goal.clusters, options.replicates)
    usable = theta[np.isfinite(theta).all(axis=1)]
    status, note = _status(fit, 1 - len(usable) / len(theta))
    diagnostics = _diagnostics(fit, data, theta) | {"influence": _influence(found, goal)}
    if every is not None:
        diagnostics["all_rows"] = fit_law(
            solved, every.x, np.exp(every.y) if linear else every.y, delta=delta, fixed=options.fixed
        ).natural
    cov = np.cov(usable.T) if len(usable) > 1 else np.full((theta.shape[1],) * 2, np.nan)
    dof = fit.dof if data.clusters is None else len(np.unique(data.clusters)) - 1
    tests = {name: hold_against(found, goal.x, goal.y, cov, values, dof) for name, values in options.published.items()}
    diagnostics["published"] = {name: test.record for name, test in tests.items()}
    if len(rest.y):
        diagnostics["held_out"] = held_out(fit, theta, data.x, rest.x, rest.y)
    record = fit.certificate.record()
    rows = []
    for name, value in _numbers(law, fit, usable).items():
        estimate, open_end = _interval(found, goal, name, *value, dof, options)
        own = (status, note)
        if status == "ok" and name in options.fixed:
            own = ("no_se", "fixed, not estimated")
        elif status == "ok" and open_end:
            own = ("not_identified", f"{name} not identified: {open_end}")
        rows.append(_Row(name, estimate, *own, diagnostics, record))
    for name, test in tests.items():
        # The statistic is a number without error of its own: its interval is itself.
        estimate = Estimate(test.statistic, 0.0, test.dof, ci=(test.statistic, test.statistic))
        finding = f"p = {test.p:.2g} by F({test.dof}, {dof}), {test.record['finding']}"
        known = status if np.isfinite(test.statistic) or status != "ok" else "no_se"
        rows.append(
            _Row(f"wald_{name}", estimate, known, ", ".join(filter(None, [finding, note])), diagnostics, record)
        )
    if len(rest.y):
        estimate = _extrapolation(fit, theta, data.x, rest)
        rows.append(_Row("extrapolation_error", estimate, status, note, diagnostics, record))
    return rows


def _delta(law: Law, data: Rows, options: LawOptions) -> float | None:
    if options.delta is None:
        return robust_delta(law, data.x, data.y, options.fixed)
    return None if options.delta == "squares" else float(options.delta)


def _status(fit: LawFit, failed: float) -> tuple[str, str]:
    """What the certificate, and the share of bootstrap replicates that failed, let one say of the whole fit."""
    seen = fit.certificate
    if seen.converged and failed <= _FAILED:
        return "ok", ""
    if seen.converged:
        return "no_se", f"{failed:.0%} of the bootstrap replicates did not converge"
    if seen.bound_hit:
        return "not_identified", f"{', '.join(seen.bound_hit)} ended at a bound"
    if not np.isfinite(seen.condition_number):
        return "not_identified", "the Jacobian is singular"
    return "not_converged", (
        f"scaled gradient {seen.scaled_gradient:.1g}, {seen.starts_agreeing} of {seen.starts} starts agree"
    )


def _diagnostics(fit: LawFit, data: Rows, theta: Array) -> dict[str, Any]:
    """δ, objective, residual spread and failed replicates."""
    found: dict[str, Any] = {
        "delta": fit.delta,
        "objective": fit.objective,
        "robust_sd": robust_sd(fit),
        "replicates_failed": int((~np.isfinite(theta).all(axis=1)).sum()),
        **spread(fit, data.x)._asdict(),
    }
    return found


def _influence(fit: LawFit, data: Rows) -> dict[str, Any]:
    """For each parameter the row whose absence moves it most; empty for long tables."""
    found: dict[str, Any] = {}
    if len(data.y) <= _INFLUENCE_ROWS:
        shift = fit.law.to_natural(influence(fit, data.x, data.y)) - fit.law.to_natural(fit.theta[None])
        for i, name in enumerate(fit.law.parameters):
            if np.isfinite(shift[:, i]).any():
                worst = int(np.nanargmax(np.abs(shift[:, i])))
                run = data.rows["run"].iloc[worst] if "run" in data.rows.columns else worst
                found[name] = {"change": float(shift[worst, i]), "without": str(run)}
    return found


def _extrapolation(fit: LawFit, theta: Array, x: Array, rest: Rows) -> Estimate:
    """Mean relative error of the held-out rows. Its standard error is their scatter's, or, of a single row, the
    standard error of prediction."""
    errors = np.abs(fit.law.predict(fit.law.to_natural(fit.theta[None])[0], rest.x) / rest.y - 1)
    if len(errors) > 1:
        return Estimate(float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(len(errors))), len(errors) - 1)
    sds = spread(fit, x)
    prediction = predict_interval(fit, theta, rest.x, sds.between, sds.seed)
    half = float(np.log(prediction.high / prediction.low)[0]) / 2
    return Estimate(float(errors[0]), half / Estimate(0.0, 1.0, fit.dof).interval()[1], fit.dof)


def _numbers(law: Law, fit: LawFit, usable: Array) -> dict[str, tuple[float, Array]]:
    """Each natural and derived parameter with its usable bootstrap replicates [B]."""
    centre = law.to_natural(fit.theta[None])
    natural = law.to_natural(usable)
    numbers = {name: (float(centre[0, i]), natural[:, i]) for i, name in enumerate(law.parameters)}
    for name, derive in law.derived.items():
        numbers[name] = (float(derive(centre)[0]), np.asarray(derive(natural), float))
    return numbers


def _interval(
    fit: LawFit, data: Rows, name: str, value: float, replicates: Array, dof: int, options: LawOptions
) -> tuple[Estimate, str]:
    """Estimate with its 95 % interval, and in which sense an end is open ("" when none is).

    Bootstrap: percentiles and standard deviation of the replicates; an end is open when more than 2.5 % of them lie at
    the law's bound. Profile: the standard error is that of the t interval of the same length. Derived parameters have
    the bootstrap's.
    """
    if len(replicates) < 2:
        return Estimate(value, np.nan, np.nan), ""
    at = fit.law.parameters.index(name) if name in fit.law.parameters else None
    if options.interval == "profile" and at is not None and name not in options.fixed:
        low, high = profile(fit, data.x, data.y, name)
        se = Estimate(0.0, 1.0, dof).interval()[1]
        shown = Estimate(value, (high - low) / (2 * se), dof, ci=(low, high))
        if not np.isfinite(shown.se) and np.isnan(low):
            return Estimate(value, np.nan, np.nan), ""
        if low <= (edge := lower_edge(fit.law, name)):
            return shown, f"the profile is flat down to {name} = {edge:g}"
        return shown, f"the profile is flat up to {name} = inf" if np.isinf(high) else ""
    low, high = np.percentile(replicates, [2.5, 97.5])
    estimate = Estimate(value, float(replicates.std(ddof=1)), dof, ci=(float(low), float(high)))
    limits = fit.law.bounds.get(name, (-np.inf, np.inf))
    # The bounds of coordinates on a log scale come back with a rounding error.
    if low <= limits[0] + 1e-9 * abs(limits[0]) or high >= limits[1] - 1e-9 * abs(limits[1]):
        return estimate, f"more than 2.5 % of the bootstrap replicates end at the bound of {name}"
    return estimate, ""
