"""From a law to an estimator: rows in, one row per parameter out, with intervals, diagnostics and certificate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from muster.config.load import nearest
from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, Estimator, Fitted, Predictions, parse_options, plain
from muster.fitting.frames import count, groups, require_columns
from muster.fitting.laws.base import LAWS, Array, Law
from muster.fitting.laws.clusters import alike, question, too_few_clusters, unit_dof
from muster.fitting.laws.hold_out import METRICS, Held, metric, relative_error
from muster.fitting.laws.interval import bootstrap, ends, influence, lower_edge, pressed, profile, row_estimate, widened
from muster.fitting.laws.linear_scale import linear_scale
from muster.fitting.laws.options import LawOptions, check_options
from muster.fitting.laws.predict import converged, held_out, predict_interval, spread
from muster.fitting.laws.printed import values as printed_values
from muster.fitting.laws.published import Reproduction, hold_against, reproduce
from muster.fitting.laws.ray import Ray, predict_run
from muster.fitting.laws.solve import ZERO, LawFit, fit_law, robust_delta, robust_sd
from muster.fitting.laws.table import design_problem, usable_rows
from muster.fitting.per_group import per_group
from muster.statistics.linear import Estimate

VARIANTS = ("fit",)
# Refits without each row in turn are made up to this many rows: their number and their price both grow with it.
_INFLUENCE_ROWS = 1000
_BEYOND = -2.33  # standard errors below zero that chance alone brings once in a hundred fits
_NO_NUMBER = Estimate(np.nan, np.nan, np.nan)
_FAILED = 0.05  # share of replicates whose loss would move a 95 % interval too far


class Rows(NamedTuple):
    """Rows of a fit as arrays: x [V, R], y [R], labels of clusters or None, the table they come from, x's columns."""

    x: Array
    y: Array
    clusters: np.ndarray | None
    rows: pd.DataFrame
    columns: list[str]


def tested_numbers(fit: FitConfig) -> list[str]:
    """Names of the numbers that a fit of a law returns beside its parameters."""
    tested = [f"{test}_{name}" for test in ("wald", "reproduced") for name in fit.options.get("published", {})]
    out = fit.options.get("hold_out") or {}
    return [*tested, *(["extrapolation_error", *out.get("metrics", ())] if out else [])]


def law_estimator(
    law_name: str, *, source: str, assumes: str, fails: str, options: type[LawOptions] = LawOptions
) -> Estimator:
    """The estimator of a registered law, to be registered under the law's name.

    options: a subclass with other defaults. A law whose one variable is called `x` reads the column in `along`.
    """
    law = LAWS[law_name]
    return estimator_of_laws(
        law.formula,
        lambda chosen, table: law,
        options,
        parameters=(*law.parameters, *law.derived),
        source=source,
        assumes=assumes,
        fails=fails,
        more=tested_numbers,
    )


def estimator_of_laws(
    summary: str, law_of: Callable[[Any, pd.DataFrame], Law], options: type[LawOptions], **declared: Any
) -> Estimator:
    """An estimator of laws. law_of: the fit's options and its table → the law. declared: further fields of
    `Estimator`."""

    def function(rows: pd.DataFrame, fit: FitConfig, chosen: LawOptions) -> Iterator[Fitted | Predictions]:
        found = infer(law_of(chosen, rows), rows, fit, chosen)
        yield from found.fitted
        if len(found.held.y):
            yield Predictions(held_rows(found, fit))

    def wrong(table: pd.DataFrame, fit: FitConfig) -> Iterator[MusterError]:
        chosen = parse_options(options, fit)
        if chosen.clusters and chosen.clusters not in table:
            found = f"{chosen.clusters!r} is no column of the table"
            yield MusterError("options.clusters", found, nearest(chosen.clusters, table.columns))
        if chosen.hold_out is None:
            return
        wrong = [*chosen.hold_out.mistakes(table)]
        yield from wrong
        for _, rows in [] if wrong else groups(table, fit.by):
            free = [name for name in law_of(chosen, rows).parameters if name not in chosen.fixed]
            if few := chosen.hold_out.too_few(rows, len(free), chosen.clusters or None):
                yield few

    def ask(table: pd.DataFrame, fit: FitConfig) -> str:
        chosen = parse_options(options, fit)
        if chosen.clusters is not None:
            return ""
        used = (law_rows(law_of(chosen, rows), rows, fit)[0] for _, rows in groups(table, fit.by))
        return next(filter(None, (question(rows.x, rows.columns) for rows in used)), "")

    return per_group(
        summary, function, VARIANTS, min_points=1, needs=(), options=options, ask=ask, wrong=wrong, **declared
    )


class Foretold(NamedTuple):
    """What a fit says of M further runs: centre and ends of the 95 % interval for one run (NaN where there is none),
    notes [M] that say why, and the centres of its bootstrap replicates [B, M]."""

    centre: Array
    low: Array
    high: Array
    notes: list[str]
    again: Array


class Inferred(NamedTuple):
    """What the rows of one group say of a law. fitted: its numbers. solved: what predicts further runs, or why nothing
    does. inside, held: the rows that were fitted, and those that were held out; made: what was predicted for the
    latter; labels [M]: their clusters, None where every row is its own."""

    fitted: list[Fitted]
    solved: "Solved | Doubt"
    inside: Rows
    held: Rows
    made: Foretold
    labels: np.ndarray | None


def infer(law: Law, rows: pd.DataFrame, fit: FitConfig, options: LawOptions) -> Inferred:
    """Every number of the law from the rows of one group."""
    check_options(law, options)
    vectors = options.vectors({column: plain(rows[column].iloc[0]) for column in fit.by})
    require_columns(rows, [options.clusters] if options.clusters else [], "options.clusters")
    for place, named in options.hold_out.columns.items() if options.hold_out else ():
        require_columns(rows, [named], place)
    columns = law.columns(options.columns, fit.along)
    signed = [column for name, column in zip(law.variables, columns, strict=True) if name in law.signed]
    usable = usable_rows(rows, columns, fit.response, signed)

    def data_of(part: pd.DataFrame) -> Rows:
        return _data(part, columns, fit.response, options.clusters)

    inside, outside = _split(usable.rows, fit.response, options)
    data, rest = data_of(inside), data_of(outside)
    solved = _solve(law, data, signed, options)
    if options.hold_out is None or options.hold_out.each is None:
        column, fits = options.clusters or None, [(solved, rest)]
    else:
        parts = [_split(usable.rows, fit.response, options, fold) for fold in options.hold_out.folds(usable.rows)]
        column = options.hold_out.each
        fits = [(_solve(law, data_of(left), signed, options), data_of(out)) for left, out in parts]
    held = data_of(pd.concat([out.rows for _, out in fits])) if fits else rest
    labels = held.rows[column].to_numpy() if column else None
    made = [foretell(by, out.x) for by, out in fits]
    if isinstance(solved, Doubt) or solved.problem:
        status, note = solved if isinstance(solved, Doubt) else solved.problem or ("", "")
        found = [_Row(name, _NO_NUMBER, status, note, {}, {}) for name in (*law.parameters, *law.derived)]
    else:
        every = data_of(usable.rows) if options.drop_largest_losses else None
        found = _numbered(law, solved, data, rest, every, options, vectors)
    if options.hold_out is not None and len(held.y):
        found += _held_numbers([by for by, _ in fits], made, held, labels, options, found[0])
    fitted = [
        Fitted(
            {VARIANTS[0]: result.estimate},
            parameter=result.parameter,
            status=result.status,
            note=", ".join(filter(None, [result.note, usable.note])),
            counts=count(inside),
            x=data.x[0],
            diagnostics=result.diagnostics,
            certificate=result.certificate,
        )
        for result in found
    ]
    return Inferred(fitted, solved, data, held, _joined(made), labels)


def law_rows(law: Law, table: pd.DataFrame, fit: FitConfig) -> tuple[Rows, Rows]:
    """The rows of one group that a fit of a law uses, and those that it holds out, as figures show them."""
    options = parse_options(ESTIMATORS[fit.estimator].options, fit)
    assert isinstance(options, LawOptions)
    columns = law.columns(options.columns, fit.along)
    signed = [column for name, column in zip(law.variables, columns, strict=True) if name in law.signed]
    parts = _split(usable_rows(table, columns, fit.response, signed).rows, fit.response, options)
    inside, held = (_data(part, columns, fit.response, options.clusters) for part in parts)
    return inside, held


def _split(
    rows: pd.DataFrame, response: str, options: LawOptions, held: np.ndarray | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that are fitted, and rows that are predicted: those of `held` [R], or of the option."""
    if held is None:
        out = options.hold_out
        held = out.held(rows) if out is not None and len(rows) else np.zeros(len(rows), bool)
    inside = rows[~held]
    if 0 < options.drop_largest_losses < len(inside):
        inside = inside[inside[response] < inside[response].nlargest(options.drop_largest_losses).min()]
    return inside, rows[held]


def _data(rows: pd.DataFrame, columns: list[str], response: str, clusters: str | Literal[False] | None) -> Rows:
    labels = pd.factorize(rows[clusters])[0] if clusters else None
    return Rows(rows[columns].to_numpy(float).T, rows[response].to_numpy(float), labels, rows, columns)


def held_rows(found: Inferred, fit: FitConfig) -> pd.DataFrame:
    """The runs that were held out, with what was predicted for them and the 95 % interval for one run.

    It has no ends, and a note that says why, where nothing is known of errors; no prediction where nothing was fitted,
    or the rows that were fitted say nothing of this one.
    """
    rows, seen, made = found.held.rows, found.held.y, found.made
    known = np.isfinite(made.low) & np.isfinite(made.high)
    inside = pd.array((made.low <= seen) & (seen <= made.high), dtype="boolean")
    inside[~known] = pd.NA
    return pd.DataFrame(
        {
            "run": rows["run"].astype(str).to_numpy() if "run" in rows else rows.index.astype(str),
            "cluster": "" if found.labels is None else pd.Series(found.labels).astype(str).to_numpy(),
            "x": rows[fit.along].to_numpy() if pd.api.types.is_numeric_dtype(rows[fit.along]) else np.nan,
            "measured": seen,
            "predicted": made.centre,
            "low": made.low,
            "high": made.high,
            "inside": inside,
            "error": made.centre / seen - 1,
            "note": made.notes,
        }
    )


class Doubt(NamedTuple):
    """A status that says that a fit has no error to be judged by, and why."""

    status: str
    note: str


class _Row(NamedTuple):
    """One parameter of a fit, as `fit_rows` takes it."""

    parameter: str
    estimate: Estimate
    status: str
    note: str
    diagnostics: Mapping[str, Any]
    certificate: Mapping[str, Any]


class Solved(NamedTuple):
    """The minimum of one group and how far other rows would move it.

    found: as it was minimized, of the rows `goal`; fit: the law's own, with residuals of ln y. theta: bootstrap
    replicates [B, P], NaN where one did not converge. dof: of every interval. doubt: why nothing is known of errors.
    ray: where the rows lie if they tell no parameters apart, which is the `problem`; there are no replicates then.
    """

    found: LawFit
    fit: LawFit
    goal: Rows
    delta: float | None
    theta: Array
    dof: int
    doubt: Doubt | None
    ray: Ray | None = None
    problem: Doubt | None = None

    @property
    def unpredicted(self) -> Doubt:
        """Why a prediction has no interval; `ok` without a note where it has one. It needs the minimum, not that its
        parameters are identified."""
        if self.ray is not None or self.fit.certificate.predicts:
            return self.doubt or Doubt("ok", "")
        return Doubt(*_status(self.fit, self.doubt))


def foretell(by: "Solved | Doubt", x_new: Array) -> Foretold:
    """Intervals for one new run at each column of x_new [V, M]; without ends (NaN) where `unpredicted`, and nothing
    where nothing was fitted."""
    count = x_new.shape[1]
    if isinstance(by, Doubt):
        nothing = np.full(count, np.nan)
        return Foretold(nothing, nothing, nothing, [by.note] * count, np.empty((0, count)))
    if by.ray is not None:
        return _along_ray(by, by.ray, x_new)
    sds, note = spread(by.fit, by.goal.x), by.unpredicted.note
    made = predict_interval(by.fit, by.theta, x_new, sds.between, sds.seed, dof=by.dof)
    low, high = (end * np.nan if note else end for end in (made.low, made.high))
    again = np.exp(by.fit.law.log_value(converged(by.theta), x_new)[0])
    return Foretold(made.centre, low, high, [note] * count, again)


def _along_ray(by: Solved, ray: Ray, x_new: Array) -> Foretold:
    """Predictions of rows on the ray of those that were fitted, and why there are none of others."""
    notes = ray.refusals(x_new)
    on = np.array([not note for note in notes], bool)
    made = np.full((3, len(notes)), np.nan)
    if on.any():
        values = np.array(predict_run(by.found, by.goal.x, by.goal.y, x_new[:, on]))
        made[:, on] = values if by.found.law is not by.fit.law else np.exp(values)
    ends = np.isfinite(made[1:]).all(axis=0) & (made[1] > 0)
    for i in np.flatnonzero(on & (bool(by.unpredicted.note) | ~ends)):
        notes[i] = by.unpredicted.note or "the rows leave an end of this prediction open"
        made[1:, i] = np.nan
    return Foretold(made[0], made[1], made[2], notes, np.empty((0, len(notes))))


def _joined(parts: Sequence[Foretold]) -> Foretold:
    """Predictions of several fits as one; of replicates as many as all of them have."""
    centre, low, high = (np.concatenate([getattr(part, name) for part in parts]) for name in Foretold._fields[:3])
    fewest = min(len(part.again) for part in parts)
    again = np.concatenate([part.again[:fewest] for part in parts], axis=1)
    return Foretold(centre, low, high, [note for part in parts for note in part.notes], again)


def _solve(law: Law, data: Rows, signed: Sequence[str], options: LawOptions) -> Solved | Doubt:
    """The minimum of the rows, or why they have none that is theirs alone."""
    free = len(law.parameters) - len(options.fixed)
    problem = design_problem(data.x, data.columns, free, signed)
    if problem and problem[0] != "collinear":
        return Doubt(*problem)
    linear = options.residual == "linear"
    # Refits minimize what the fit minimizes; all else is told of the law itself.
    solved, goal = (linear_scale(law), data._replace(y=np.exp(data.y))) if linear else (law, data)
    delta = _delta(solved, goal, options)
    thorough = options.thorough and not problem
    found = fit_law(solved, goal.x, goal.y, delta=delta, fixed=options.fixed, thorough=thorough)
    fit = replace(found, law=law, residuals=np.log(data.y) - law.log_value(found.theta[None], data.x)[0][0])
    if problem:
        ray, none = Ray.of(data.x, data.columns, signed), np.empty((0, len(found.theta)))
        doubt = _dependent(options) or _doubt(fit, data, 0.0, options)
        return Solved(found, fit, goal, delta, none, fit.dof, doubt, ray, Doubt(*problem))
    theta = bootstrap(found, goal.x, goal.y, goal.clusters, options.replicates)
    failed = 1 - len(converged(theta)) / len(theta)
    return Solved(found, fit, goal, delta, theta, unit_dof(fit, data.clusters), _doubt(fit, data, failed, options))


def _dependent(options: LawOptions) -> Doubt | None:
    if not options.clusters:
        return None
    found = f"rows of one {options.clusters} depend on each other, and a profile takes rows as independent"
    return Doubt("no_se", f"{found}: average them, or say `clusters: false`")


def _numbered(
    law: Law,
    solved: Solved,
    data: Rows,
    rest: Rows,
    every: Rows | None,
    options: LawOptions,
    vectors: Mapping[str, Mapping[str, float | str]],
) -> list[_Row]:
    """All rows of one fit to `data`: natural parameters, derived ones, published vectors."""
    found, fit, goal, delta, theta, dof, doubt, *_ = solved
    usable = converged(theta)
    beyond = [name for name in fit.certificate.vanished if pressed(found, goal.x, name, goal.clusters) < _BEYOND]
    status, note = _status(fit, doubt, beyond)
    asked = question(data.x, data.columns) if options.clusters is None and not doubt else ""
    diagnostics = _diagnostics(fit, data, theta) | {"influence": _influence(found, goal)}
    if every is not None:
        y = np.exp(every.y) if options.residual == "linear" else every.y
        diagnostics["all_rows"] = fit_law(found.law, every.x, y, delta=delta, fixed=options.fixed).natural
    cov = np.cov(usable.T) if len(usable) > 1 else np.full((theta.shape[1],) * 2, np.nan)
    tests = {
        name: hold_against(found, goal.x, goal.y, cov, printed_values(vector), dof) for name, vector in vectors.items()
    }
    reproductions = {name: reproduce(found, goal.x, goal.y, vector) for name, vector in vectors.items()}
    diagnostics["published"] = {
        name: {**test.record, "reproduction": reproductions[name]._asdict()} for name, test in tests.items()
    }
    if len(rest.y):
        diagnostics["held_out"] = held_out(fit, theta, data.x, rest.x, rest.y, dof=dof)
    record = fit.certificate.record()
    rows = []
    for name, value in _numbers(law, fit, widened(fit, usable, dof) if dof > 0 else usable[:0]).items():
        estimate, edge = _interval(found, goal, name, *value, dof, options)
        own = (status, note or asked)
        if status == "ok" and name in options.fixed:
            own = ("no_se", "fixed, not estimated")
        elif status == "ok" and edge:
            own = (edge[0], f"{name} {edge[1]}")
        rows.append(_Row(name, estimate, *own, diagnostics, record))
    for name, test in tests.items():
        # The statistic is a number without error of its own: its interval is itself.
        estimate = Estimate(test.statistic, 0.0, test.dof, ci=(test.statistic, test.statistic))
        finding = f"p = {test.p:.2g} by F({test.dof}, {dof}), {test.record['finding']}"
        known = status if np.isfinite(test.statistic) or status != "ok" else "no_se"
        if known == "ok" and any(gone in vectors[name] for gone in fit.certificate.vanished):
            known = "not_identified"  # the covariance at a bound is not that of a normal estimate
        rows.append(
            _Row(f"wald_{name}", estimate, known, ", ".join(filter(None, [finding, note])), diagnostics, record)
        )
    rows += [_reproduced(name, found, each, diagnostics, record) for name, each in reproductions.items()]
    return rows


def _delta(law: Law, data: Rows, options: LawOptions) -> float | None:
    if options.delta is None:
        return robust_delta(law, data.x, data.y, options.fixed)
    return None if options.delta == "squares" else float(options.delta)


def _doubt(fit: LawFit, data: Rows, failed: float, options: LawOptions) -> Doubt | None:
    """Why nothing is known of how far other rows would move this fit; None when something is."""
    if few := too_few_clusters(fit, data.clusters):
        return Doubt("not_identified", few)
    if failed > _FAILED:
        return Doubt("no_se", f"{failed:.0%} of the bootstrap replicates did not converge")
    if options.clusters is None and (agree := alike(fit.residuals, data.x, data.columns)):
        return Doubt("no_se", f"{agree}, {question(data.x, data.columns)}")
    return None


def _status(fit: LawFit, doubt: Doubt | None, beyond: Sequence[str] = ()) -> tuple[str, str]:
    """What the certificate and the doubts about errors let one say of the parameters."""
    seen = fit.certificate
    if beyond:
        return "not_identified", f"{', '.join(beyond)} ended at zero, and the rows ask for less: the law is not theirs"
    if seen.converged:
        return doubt or ("ok", "")
    if seen.bound_hit:
        return "not_identified", f"{', '.join(seen.bound_hit)} ended at a bound"
    if not np.isfinite(seen.condition_number):
        return "not_identified", "the Jacobian is singular"
    return "not_converged", (
        f"scaled gradient {seen.scaled_gradient:.1g}, {seen.starts_agreeing} of {seen.starts} starts agree"
    )


def _diagnostics(fit: LawFit, data: Rows, theta: Array) -> dict[str, Any]:
    """δ, objective, residual spread, failed replicates, and how many clusters of dependent rows there are."""
    found: dict[str, Any] = {
        "delta": fit.delta,
        "objective": fit.objective,
        "robust_sd": robust_sd(fit),
        "replicates_failed": int((~np.isfinite(theta).all(axis=1)).sum()),
        **spread(fit, data.x)._asdict(),
    }
    if data.clusters is not None:
        found["clusters"] = len(np.unique(data.clusters))
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


def _reproduced(
    name: str, fit: LawFit, found: Reproduction, diagnostics: Mapping[str, Any], record: Mapping[str, Any]
) -> _Row:
    """The excess of a published vector as a number without error: a recipe on given rows has only one minimum."""
    estimate = Estimate(found.excess, 0.0, max(fit.dof, 1), ci=(found.excess, found.excess))
    away = f"{found.parameter} is {found.digits:.3g} halves of its last digit from the fit"
    status = "ok" if fit.certificate.predicts and found.solved else "not_converged"
    return _Row(f"reproduced_{name}", estimate, status, away, diagnostics, record)


def _held_numbers(
    fits: Sequence[Solved | Doubt],
    made: Sequence[Foretold],
    rest: Rows,
    labels: np.ndarray | None,
    options: LawOptions,
    first: _Row,
) -> list[_Row]:
    """The mean relative error of held-out rows and the other metrics asked for, over all fits (one, or one for each
    value that is held out in turn). first: a row of the fit, whose diagnostics they share."""
    out, all_made = options.hold_out, _joined(made)
    names = ("extrapolation_error", *(out.metrics if out else ()))
    there = np.isfinite(all_made.centre)
    solved = [by for by in fits if isinstance(by, Solved)]
    if not there.any():
        status = fits[0].status if isinstance(fits[0], Doubt) else "collinear"
        return [first._replace(parameter=n, estimate=_NO_NUMBER, status=status, note=all_made.notes[0]) for n in names]
    folds = np.repeat(np.arange(len(made)), [len(part.centre) for part in made])
    held = Held(
        all_made.centre[there],
        rest.y[there],
        all_made.again[:, there],
        None if labels is None else labels[there],
        min(by.dof for by in solved),
        folds[there],
    )
    known = next((by.unpredicted for by in solved if by.unpredicted.note), Doubt("ok", ""))
    missed = np.log(held.seen) - np.log(held.predicted)
    if not known.note and any(by.ray is not None for by in solved):
        known = Doubt("no_se", "on a ray each prediction has an interval, their mean has none")
    elif not known.note and labels is None and (agree := alike(missed, rest.x[:, there], rest.columns)):
        known = Doubt("no_se", f"held out, {agree}, {question(rest.x, rest.columns)}")
    if not there.all():
        reason = all_made.notes[int(np.argmin(there))]
        lost = f"{int((~there).sum())} of {len(there)} rows not predicted ({reason})"
        known = known._replace(note=", ".join(filter(None, [known.note, lost])))
    sds = spread(solved[0].fit, solved[0].goal.x)
    estimates = [
        relative_error(held, sds.between**2 + sds.seed**2) if name not in METRICS else metric(name, held)
        for name in names
    ]
    return [
        first._replace(parameter=name, estimate=estimate, status=known.status, note=known.note)
        for name, estimate in zip(names, estimates, strict=True)
    ]


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
) -> tuple[Estimate, tuple[str, str] | None]:
    """Estimate with its 95 % interval, and status and words for an end that the data leave open (None when none is).

    Bootstrap: percentiles of the widened replicates [B]. Profile: its ends; derived parameters have the bootstrap's.
    An interval that reaches down to zero, where the parameter's range ends, is one-sided and stands; one that reaches
    another bound of the law is no interval.
    """
    if len(replicates) < 2:
        return Estimate(value, np.nan, np.nan), None
    at = fit.law.parameters.index(name) if name in fit.law.parameters else None
    limits = fit.law.bounds.get(name, (-np.inf, np.inf))
    if options.interval == "profile" and at is not None and name not in options.fixed:
        low, high = profile(fit, data.x, data.y, name)
        limits = lower_edge(fit.law, name), np.inf
        if np.isnan(low):
            return Estimate(value, np.nan, np.nan), None
    else:
        low, high = ends(replicates)
    estimate = row_estimate(value, low, high, dof, limits[0])
    # The bounds of coordinates on a log scale come back with a rounding error.
    below, above = low * (1 - 1e-9 * np.sign(low)) <= limits[0], high * (1 + 1e-9 * np.sign(high)) >= limits[1]
    if above:
        return estimate, ("not_identified", f"not identified: its interval has no end below {limits[1]:g}")
    if not below or not np.isfinite(limits[0]):
        return estimate, None
    if limits[0] <= ZERO:
        return estimate, ("ok", "may be 0: its interval is one-sided")
    return estimate, ("not_identified", f"not identified: its interval has no end above {limits[0]:g}")
