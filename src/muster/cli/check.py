"""Can this study answer its own claims? Checked from the plan alone, before any job starts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from muster.config.load import FieldPath, nearest, place
from muster.config.models import ClaimConfig, FitConfig, StudyConfig
from muster.errors import MusterError
from muster.registry import NAMED_FIELDS, find_registry

if TYPE_CHECKING:
    from muster.plan import PlannedCell, StudyPlan

MIN_LEARNING_RATES = 5  # ESTIMATORS (a): two finite points on each side of the best
LR_AXIS = "log2_lr"


def check_claim_names(studies: Mapping[str, StudyConfig], paths: Mapping[str, Path]) -> None:
    """Raises MusterError if two claims, of any studies, share their name in the ledger."""
    owner: dict[str, str] = {}
    for name, study in studies.items():
        for i, claim in enumerate(study.claims):
            if claim.claim in owner:
                where = place(paths.get(name, Path(f"{name}.yaml")), ("claims", i, "claim"))
                raise MusterError(
                    where, f"{claim.claim!r} is taken by study {owner[claim.claim]}", "Choose a unique name"
                )
            owner[claim.claim] = name


def check_study(plan: "StudyPlan", path: Path) -> None:
    """Check every name that a study refers to, and that its grid can decide its claims.

    At scale `smoke`, which is never judged, the grid may be too small for a slope or an optimum. Raises MusterError
    naming file, line and field.
    """
    check = _Check(plan, path)
    check.cell_names()
    for name in plan.study.fits:
        check.fit(name)
    for i in range(len(plan.study.claims)):
        check.claim(i)
    for name in plan.study.figures:
        check.figure(name)


class _Check:
    def __init__(self, plan: "StudyPlan", path: Path):
        self.plan, self.study, self.path = plan, plan.study, path
        self.judged = plan.scale != "smoke"

    def fail(self, field: FieldPath, found: str, remedy: str) -> NoReturn:
        raise MusterError(place(self.path, field), found, remedy)

    def cell_names(self) -> None:
        """Values of cells that name something registered."""
        from muster.plan import written_at

        kind = type(self.plan.cells[0].cell)
        fields = [name for name in NAMED_FIELDS if name in kind.model_fields and name not in kind.free_names]
        for field in fields:
            registry = find_registry(NAMED_FIELDS[field])
            for value in dict.fromkeys(n for cell in self.plan.cells for n in _names(getattr(cell.cell, field))):
                if value == "none":
                    continue
                if value not in registry:
                    where = written_at(field, value, self.study, self.plan.scale)
                    self.fail(where, f"unknown {registry.kind} {value!r}", nearest(value, registry))

    def fit(self, name: str) -> None:
        from muster.fitting import ESTIMATORS, check_fit

        fit, field = self.study.fits[name], ("fits", name)
        try:
            check_fit(self.study, name)
        except MusterError as error:
            inner = error.place.rpartition(f"fits.{name}.")[2]
            raise MusterError(place(self.path, (*field, *inner.split("."))), error.found, error.remedy) from None
        estimator = ESTIMATORS[fit.estimator]
        columns = self.plan.columns(fit.table)
        for part, names in (
            ("response", [fit.response]),
            ("along", [fit.along]),
            ("by", fit.by),
            ("select", fit.select),
        ):
            for column in names:
                if column not in columns:
                    self.fail(
                        (*field, part), f"{column!r} is no column of the {fit.table} table", nearest(column, columns)
                    )
        for column in estimator.needs:
            if column not in columns:
                found = f"estimator {fit.estimator!r} needs the column {column!r}"
                self.fail(
                    (*field, "estimator"), found, f"Columns of this study's {fit.table} table: {', '.join(columns)}"
                )
        for pair in ("a", "b"):
            if isinstance(fit.options.get(pair), dict):
                self._produced(fit, fit.options[pair], (*field, "options", pair))
        self._produced(fit, {}, field)

    def _produced(self, fit: FitConfig, group: Mapping[str, Any], field: FieldPath) -> None:
        """The cells of a group of a fit must exist, and be enough for its estimator."""
        from muster.fitting import ESTIMATORS

        estimator = ESTIMATORS[fit.estimator]
        cells = _matching(self.plan.cells, {**fit.select, **group})
        if not self.judged:
            return
        if not cells:
            wanted = {k: v for k, v in {**fit.select, **group}.items() if k in self.plan.keys}
            column, run = self._never_run(wanted)
            found = f"the grid of scale {self.plan.scale!r} never runs {wanted}"
            self.fail(
                field, found, f"Add it to the grid, or choose from {column}: {run}" if column else "Add it to the grid"
            )
        along = {value for cell in cells for value in _names(getattr(cell.cell, fit.along, None))} - {None}
        if fit.along in self.plan.keys and len(along) < estimator.min_points:
            found = f"{len(along)} value(s) of {fit.along}: {_listed(along)}"
            remedy = f"{fit.estimator} needs at least {estimator.min_points}: widen the grid of {self.plan.scale!r}"
            self.fail(field, found, remedy)
        if estimator.make_optima and LR_AXIS in self.plan.member_axes:
            fewest = min(cells, key=lambda cell: len(getattr(cell.cell, LR_AXIS)))
            rates = getattr(fewest.cell, LR_AXIS)
            if len(rates) < MIN_LEARNING_RATES:
                found = f"{len(rates)} learning rate(s) at {fewest.key.split('/')[1]}: no interior optimum is possible"
                self.fail(field, found, f"Give {LR_AXIS} at least {MIN_LEARNING_RATES} values in {self.plan.scale!r}")

    def _never_run(self, wanted: Mapping[str, Any]) -> tuple[str, str]:
        """The first column whose wanted value alone is not run, with the values that are."""
        for column, value in wanted.items():
            if not _matching(self.plan.cells, {column: value}):
                values = {v for cell in self.plan.cells for v in _names(getattr(cell.cell, column))}
                return column, _listed(values)
        return "", ""

    def claim(self, i: int) -> None:
        claim, field = self.study.claims[i], ("claims", i)
        if claim.fit not in self.study.fits:
            self.fail((*field, "fit"), f"unknown fit {claim.fit!r}", nearest(claim.fit, self.study.fits))
        if claim.figure is not None and claim.figure not in self.study.figures:
            self.fail((*field, "figure"), f"unknown figure {claim.figure!r}", nearest(claim.figure, self.study.figures))
        fit = self.study.fits[claim.fit]
        self._one_group(claim.fit, claim.where, (*field, "where"))
        self._claim_parameter(claim, field)
        self._claim_test(claim, field)
        self._produced(fit, claim.where, (*field, "where"))

    def _claim_parameter(self, claim: ClaimConfig, field: FieldPath) -> None:
        """A claim about one number of a fit must name one that its estimator returns."""
        from muster.fitting import ESTIMATORS

        fit = self.study.fits[claim.fit]
        known = ESTIMATORS[fit.estimator].numbers(fit)
        if claim.parameter is not None and claim.parameter not in known:
            found = f"estimator {fit.estimator!r} returns no {claim.parameter!r}"
            self.fail((*field, "parameter"), found, nearest(claim.parameter, known))

    def _claim_test(self, claim: ClaimConfig, field: FieldPath) -> None:
        if claim.test in ("equivalence", "interval") and claim.margin == 0:
            self.fail((*field, "margin"), f"test {claim.test!r} with margin 0 can never support", "Give a margin > 0")

    def figure(self, name: str) -> None:
        from muster.plan import SPECIFICATION_PLOTS
        from muster.plots import PLOTS

        figure, field = self.study.figures[name], ("figures", name)
        if figure.plot not in PLOTS:
            self.fail((*field, "plot"), f"unknown plot {figure.plot!r}", nearest(figure.plot, PLOTS))
        if figure.fit is not None and figure.fit not in self.study.fits:
            self.fail((*field, "fit"), f"unknown fit {figure.fit!r}", nearest(figure.fit, self.study.fits))
        if figure.plot in SPECIFICATION_PLOTS:
            self._specified(figure.fit, field)
        if figure.fit and ("where" in figure.options or figure.plot in SPECIFICATION_PLOTS):
            self._one_group(figure.fit, figure.options.get("where", {}), (*field, "options", "where"))
        try:
            PLOTS[figure.plot].check(figure.options)
        except MusterError as error:
            raise MusterError(place(self.path, (*field, *error.place.split("."))), error.found, error.remedy) from None

    def _one_group(self, fit: str, where: Any, field: FieldPath) -> None:
        """A claim, or a figure, of one group of a fit names each `by` column."""
        by = self.study.fits[fit].by
        if isinstance(where, dict) and set(where) != set(by):  # a figure's options are checked for their types later
            found = f"found {_listed(where) or 'nothing'}"
            self.fail(field, found, f"One value for each `by` column of fit {fit!r}: {_listed(by) or 'none'}")

    def _specified(self, fit: str | None, field: FieldPath) -> None:
        """A specification curve shows a fit whose estimator has alternatives."""
        from muster.fitting.specification import alternatives_of

        if fit is None:
            self.fail((*field, "fit"), "missing", f"Fits of the study: {', '.join(self.study.fits)}")
        if alternatives_of(self.study.fits[fit].estimator) is None:
            kind = self.study.fits[fit].estimator
            known = [name for name, each in self.study.fits.items() if alternatives_of(each.estimator)]
            self.fail((*field, "fit"), f"estimator {kind!r} has no alternatives", f"Fits with: {_listed(known)}")


def _names(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(values, key=lambda v: (isinstance(v, str), v))))


def _matching(cells: Iterable["PlannedCell"], selection: Mapping[str, Any]) -> list["PlannedCell"]:
    """Cells that agree with a selection in every column that is one of their fields."""
    wanted = {column: list(_names(value)) for column, value in selection.items()}
    found = []
    for cell in cells:
        known = type(cell.cell).model_fields
        pairs = ((_names(getattr(cell.cell, column)), values) for column, values in wanted.items() if column in known)
        if all(any(value in values for value in have) for have, values in pairs):
            found.append(cell)
    return found
