"""Can this study answer its own claims? Checked from the plan alone, before any job starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.claims.conditions import options_of
from muster.claims.regime.base import REGIME_CHECKS
from muster.config.load import CONFIG_PATH, config_of, in_file, nearest_or_part
from muster.config.models import ClaimConfig, Config, FitConfig
from muster.digests import canonical
from muster.errors import FieldError, FieldPath, MusterError, as_one
from muster.fitting.base import ESTIMATORS
from muster.fitting.compared import compared, group_columns
from muster.fitting.laws.law import law_of
from muster.fitting.specification import alternatives_of
from muster.fitting.study import check_fit
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import MATRIX_RULES, unfit_rule
from muster.plan.cells import PlannedCell
from muster.plan.grid import written_at
from muster.plan.plan import Plan, make_plan
from muster.plan.study import SPECIFICATION_PLOTS, StudyPlan
from muster.plots import PLOTS
from muster.registry import NAMED_FIELDS, find_registry

MIN_LEARNING_RATES = 5  # ESTIMATORS (a): two finite points on each side of the best
LR_AXIS = "log2_lr"


def checked_plan(config: Config, config_path: Path = CONFIG_PATH) -> Plan:
    """Plan what the configuration asks for, of studies that can answer their own claims; see `make_plan`."""
    return make_plan(config, config_path, check_study)


def plan_from(settings: Mapping[str, Any], config_path: Path = CONFIG_PATH) -> Plan:
    """The checked plan of a configuration that is already parsed, as Snakemake holds it."""
    return checked_plan(config_of(settings, config_path), config_path)


def check_study(plan: StudyPlan, path: Path) -> None:
    """Check every name that a study refers to, and that its grid can decide its claims.

    At scale `smoke`, which is never judged, the grid may be too small for a slope or an optimum. Raises MusterError
    with all mistakes, each with file, line and field.
    """
    with in_file(path):
        if wrong := list(mistakes(plan)):
            raise as_one(wrong)


def mistakes(plan: StudyPlan) -> Iterator[FieldError]:
    """Every mistake of a planned study, at its field."""
    unknown = list(_cell_names(plan))
    yield from unknown or _rules(plan)
    sound = []
    for name in plan.study.fits:
        wrong = list(_fit(plan, name))
        yield from wrong
        sound += [] if wrong else [name]
    for i, claim in enumerate(plan.study.claims):
        if claim.fit in sound:
            yield from _claim(plan, claim, ("claims", i))
    for name in plan.study.figures:
        yield from _figure(plan, name, sound)


def _cell_names(plan: StudyPlan) -> Iterator[FieldError]:
    """Values of cells that name something registered."""
    kind = type(plan.cells[0].cell)
    fields = [name for name in NAMED_FIELDS if name in kind.model_fields and name not in kind.free_names]
    for field in fields:
        registry = find_registry(NAMED_FIELDS[field])
        for value in dict.fromkeys(n for cell in plan.cells for n in _names(getattr(cell.cell, field))):
            if value != "none" and value not in registry:
                where = written_at(field, value, plan.study, plan.scale)
                yield FieldError(where, f"unknown {registry.kind} {value!r}", nearest_or_part(value, registry))


def _rules(plan: StudyPlan) -> Iterator[FieldError]:
    """Learning-rate rules that have no rates for their cells' optimizer."""
    kind = type(plan.cells[0].cell)
    if not {"optimizer", "rule"} <= kind.model_fields.keys() or "optimizer" in kind.free_names:
        return
    named = ((getattr(cell.cell, "optimizer"), getattr(cell.cell, "rule")) for cell in plan.cells)  # noqa: B009
    for optimizer, rule in dict.fromkeys(named):
        if wrong := unfit_rule(OPTIMIZERS[optimizer].update, rule):
            where = written_at("optimizer", optimizer, plan.study, plan.scale)
            yield FieldError(where, wrong, f"Set rule to {' or '.join(MATRIX_RULES)}")


def _fit(plan: StudyPlan, name: str) -> Iterator[FieldError]:
    fit, field = plan.study.fits[name], ("fits", name)
    try:
        check_fit(plan.study, name)
    except MusterError as error:
        inner = error.place.rpartition(f"fits.{name}.")[2]
        yield FieldError((*field, *inner.split(".")), error.found, error.remedy)
        if inner == "estimator":
            return
    estimator = ESTIMATORS[fit.estimator]
    columns = plan.columns(fit.table)
    missing = list(_unknown_columns(fit, columns, field))
    for column in estimator.needs:
        if column not in columns:
            found = f"estimator {fit.estimator!r} needs the column {column!r}"
            remedy = f"Columns of this study's {fit.table} table: {', '.join(columns)}"
            missing.append(FieldError((*field, "estimator"), found, remedy))
    yield from missing
    if missing:
        return
    for side, group in compared(fit).items():
        yield from _produced(plan, fit, group, (*field, "options", side))
    yield from _shared(plan, fit, (*field, "options", "b"))
    yield from _produced(plan, fit, {}, field)


def _shared(plan: StudyPlan, fit: FitConfig, field: FieldPath) -> Iterator[FieldError]:
    """Two groups whose optima are subtracted, shape by shape, need shapes that both have."""
    estimator = ESTIMATORS[fit.estimator]
    if plan.scale == "smoke" or not (compared(fit) and estimator.make_optima and fit.along in plan.keys):
        return
    cells = [matching(plan.cells, {**fit.select, **group}) for group in compared(fit).values()]
    first, second = ({n for cell in each for n in _names(getattr(cell.cell, fit.along, None))} for each in cells)
    if cells[0] and cells[1] and len(first & second) < estimator.min_points <= min(len(first), len(second)):
        found = f"a and b share {len(first & second)} value(s) of {fit.along}: {_listed(first)}; {_listed(second)}"
        yield FieldError(field, found, f"{fit.estimator} needs {estimator.min_points} that both groups have")


def _unknown_columns(fit: FitConfig, columns: Iterable[str], field: FieldPath) -> Iterator[FieldError]:
    for part, names in (("response", [fit.response]), ("along", [fit.along]), ("by", fit.by), ("select", fit.select)):
        for column in names:
            if column not in columns:
                found = f"{column!r} is no column of the {fit.table} table"
                yield FieldError((*field, part), found, nearest_or_part(column, columns))


def _produced(plan: StudyPlan, fit: FitConfig, group: Mapping[str, Any], field: FieldPath) -> Iterator[FieldError]:
    """The cells of a group of a fit must exist, and be enough for its estimator; at scale smoke they need not."""
    if plan.scale == "smoke":
        return
    estimator = ESTIMATORS[fit.estimator]
    cells = matching(plan.cells, {**fit.select, **group})
    if not cells:
        wanted = {k: v for k, v in {**fit.select, **group}.items() if k in plan.keys}
        column, run = _never_run(plan, wanted)
        found = f"the grid of scale {plan.scale!r} never runs {wanted}"
        yield FieldError(
            field, found, f"Add it to the grid, or choose from {column}: {run}" if column else "Add it to the grid"
        )
        return
    along = {value for cell in cells for value in _names(getattr(cell.cell, fit.along, None))} - {None}
    if fit.along in plan.keys and len(along) < estimator.min_points:
        found = f"{len(along)} value(s) of {fit.along}: {_listed(along)}"
        remedy = f"{fit.estimator} needs at least {estimator.min_points}: widen the grid of {plan.scale!r}"
        yield FieldError(field, found, remedy)
    if estimator.make_optima and LR_AXIS in plan.member_axes:
        fewest = min(cells, key=lambda cell: len(getattr(cell.cell, LR_AXIS)))
        rates = getattr(fewest.cell, LR_AXIS)
        if len(rates) < MIN_LEARNING_RATES:
            found = f"{len(rates)} learning rate(s) at {fewest.key.split('/')[1]}: no interior optimum is possible"
            yield FieldError(field, found, f"Give {LR_AXIS} at least {MIN_LEARNING_RATES} values in {plan.scale!r}")


def _never_run(plan: StudyPlan, wanted: Mapping[str, Any]) -> tuple[str, str]:
    """The first column whose wanted value alone is not run, with the values that are."""
    for column, value in wanted.items():
        if not matching(plan.cells, {column: value}):
            values = {v for cell in plan.cells for v in _names(getattr(cell.cell, column))}
            return column, _listed(values)
    return "", ""


def _claim(plan: StudyPlan, claim: ClaimConfig, field: FieldPath) -> Iterator[FieldError]:
    fit = plan.study.fits[claim.fit]
    groups = list(_one_group(plan, claim.fit, claim.where, (*field, "where")))
    yield from groups
    known = ESTIMATORS[fit.estimator].numbers(fit)
    if claim.parameter is not None and claim.parameter not in known:
        found = f"estimator {fit.estimator!r} returns no {claim.parameter!r}"
        yield FieldError((*field, "parameter"), found, nearest_or_part(claim.parameter, known))
    if claim.test in ("equivalence", "interval") and claim.margin == 0:
        found = f"test {claim.test!r} with margin 0 can never support"
        yield FieldError((*field, "margin"), found, "Give a margin > 0")
    for i, regime in enumerate(claim.regime):
        try:
            options = options_of(regime, (*field, "regime", i))
        except FieldError as error:
            yield error
            continue
        if why := REGIME_CHECKS[regime.check].unfit(plan.study, claim, options):
            remedy = "Name a fit that has it, or a check that fits: `muster list checks`"
            yield FieldError((*field, "regime", i), f"{regime.check} can never be computed: {why}", remedy)
    if not groups:
        yield from _produced(plan, fit, claim.where, (*field, "where"))


def _figure(plan: StudyPlan, name: str, sound: Sequence[str]) -> Iterator[FieldError]:
    """sound: fits without mistakes; what a figure wants of another cannot be told."""
    figure, field = plan.study.figures[name], ("figures", name)
    if figure.plot not in PLOTS:
        yield FieldError((*field, "plot"), f"unknown plot {figure.plot!r}", nearest_or_part(figure.plot, PLOTS))
        return
    plot = PLOTS[figure.plot]
    try:
        options = plot.check(figure.options, (*field, "options"))
    except MusterError as error:
        yield from (mistake for mistake in error.mistakes if isinstance(mistake, FieldError))
        return
    if figure.fit is not None and figure.fit not in sound:
        return
    fit = plan.study.fits[figure.fit] if figure.fit else None
    if plot.of_law and fit and law_of(fit) is None:
        laws = [name for name, each in plan.study.fits.items() if law_of(each)]
        found = f"{figure.plot} shows a law, and fit {figure.fit!r} ({fit.estimator}) fits none"
        yield FieldError((*field, "fit"), found, f"Fits of laws: {_listed(laws) or 'none'}")
    unknown = list(_named(plan, fit, plot.named(options), (*field, "options")))
    yield from unknown
    if fit and plot.sweeps and not unknown:
        yield from _pooled(plan, fit, getattr(options, "along", None) or fit.along, figure.select, (*field, "fit"))
    elif fit and plot.sweeps is False and ESTIMATORS[fit.estimator].make_optima:
        found = f"{figure.plot} shows one value a run, and fit {figure.fit!r} ({fit.estimator}) finds optima of sweeps"
        others = [name for name, each in plan.study.fits.items() if not ESTIMATORS[each.estimator].make_optima]
        yield FieldError(
            (*field, "fit"), found, f"Draw it with optimum_vs_axis; other fits: {_listed(others) or 'none'}"
        )
    wrong = list(_specified(plan, figure.fit, sound, (*field, "fit"))) if figure.plot in SPECIFICATION_PLOTS else []
    yield from wrong
    if wrong:
        return
    if figure.fit and fit and ("where" in figure.options or figure.plot in SPECIFICATION_PLOTS):
        where = figure.options.get("where", {})
        groups = list(_one_group(plan, figure.fit, where, (*field, "options", "where")))
        yield from groups or _produced(plan, fit, where, (*field, "options", "where"))


def _named(
    plan: StudyPlan, fit: FitConfig | None, named: Iterable[tuple[str, str, str]], field: FieldPath
) -> Iterator[FieldError]:
    """Columns that a figure's options name, and that are none; see `Plot.named`."""
    for option, column, of in named:
        if of == "groups":
            known, what = group_columns(fit) if fit else [], "no column that tells the fit's groups apart"
        elif of == "variables":
            if (law := law_of(fit) if fit else None) is None:
                continue
            known, what = list(law.variables), "no variable of the fit's law"
        else:
            known, what = list(plan.columns(of)), f"no column of the {of} table"
        if column not in known:
            yield FieldError((*field, option), f"{column!r} is {what}", nearest_or_part(column, known))


def _pooled(
    plan: StudyPlan, fit: FitConfig, along: str, select: Mapping[str, Any], field: FieldPath
) -> Iterator[FieldError]:
    """Runs that a figure of sweeps would show as seeds of one another although they differ in more."""
    if plan.run_keys:  # of published tables: their rows are the runs, not these cells
        return
    shown = [*group_columns(fit), along]
    others = [column for column in plan.keys[1:] if column not in (*shown, "seed", LR_AXIS)]
    cells = matching(plan.cells, {**fit.select, **select})
    if compared(fit):
        cells = [cell for group in compared(fit).values() for cell in matching(cells, group)]
    placed = [
        (canonical([getattr(cell.cell, each) for each in shown if each in type(cell.cell).model_fields]), cell)
        for cell in cells
    ]
    for column in others:
        places: dict[str, set[Any]] = {}
        for place, cell in placed:
            places.setdefault(place, set()).update(_names(getattr(cell.cell, column, None)))
        for pooled in (values for values in places.values() if len(values) > 1):
            found = f"runs of {column} {_listed(pooled)} would be shown as one"
            yield FieldError(field, found, f"Name {column} in `by` of the fit, or fix its value in `select`")
            break


def _one_group(plan: StudyPlan, fit: str, where: Any, field: FieldPath) -> Iterator[FieldError]:
    """A claim, or a figure, of one group of a fit names each `by` column."""
    by = plan.study.fits[fit].by
    if isinstance(where, dict) and set(where) != set(by):  # a figure's options are checked for their types elsewhere
        found = f"found {_listed(where) or 'nothing'}"
        yield FieldError(field, found, f"One value for each `by` column of fit {fit!r}: {_listed(by) or 'none'}")


def _specified(plan: StudyPlan, fit: str | None, sound: Sequence[str], field: FieldPath) -> Iterator[FieldError]:
    """A specification curve shows a fit whose estimator has alternatives."""
    fits = plan.study.fits
    if fit is None:
        yield FieldError(field, "missing", f"Fits of the study: {', '.join(fits)}")
    elif alternatives_of(fits[fit].estimator) is None:
        known = [name for name in sound if alternatives_of(fits[name].estimator)]
        yield FieldError(
            field, f"estimator {fits[fit].estimator!r} has no alternatives", f"Fits with: {_listed(known)}"
        )


def _names(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(values, key=lambda v: (isinstance(v, str), v))))


def matching(cells: Iterable[PlannedCell], selection: Mapping[str, Any]) -> list[PlannedCell]:
    """Cells that agree with a selection in every column that is one of their fields."""
    wanted = {column: list(_names(value)) for column, value in selection.items()}
    found = []
    for cell in cells:
        known = type(cell.cell).model_fields
        pairs = ((_names(getattr(cell.cell, column)), values) for column, values in wanted.items() if column in known)
        if all(any(value in values for value in have) for have, values in pairs):
            found.append(cell)
    return found
