"""`muster power`: what a study's grid can show, by simulation, before any compute is spent."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from muster.cli.printing import print_table
from muster.cli.stages import study_plan, with_defaults
from muster.config.models import ClaimConfig, FitConfig, PilotConfig, StudyConfig
from muster.errors import MusterError
from muster.plan.study import StudyPlan

if TYPE_CHECKING:
    import pandas as pd

    from muster.claims.law_power import LawDesign
    from muster.claims.power import Design, Slopes

SIMULATED = ("lr_transfer", "lr_transfer_difference")
DEFAULT = "default"  # of no run: numbers that a user may replace
HEAD = (
    "fit and group",
    "shapes",
    "seeds",
    "rates",
    "noise",
    "tau",
    "curvature",
    "from",
    "interior",
    "se",
    "expects",
    "detects",
)
CLAIM_HEAD = ("claim", "test", "predicted", "level", "power there", "80 % needs")
LAW_HEAD = ("fit and group", "rows", "clusters", "noise", "shared", "from", "where")
LAW_LEGEND = """\
noise      standard deviation of one run's ln response around the law
shared     that of what all runs of a cluster have in common, where the fit has clusters
from       where these come from: given, the study's table, its pilots (`pilot:` of the scale), or default
where      parameters at which tables are drawn: published ones, above them what claims of two bounds predict, and what
           is left as the table has it with these held fixed; claims of one bound are tested there, too"""
LEGEND = """\
noise      standard deviation of one run's ln loss around its seed's curve
tau        scatter of ln(optimal rate) between shapes, beyond the line
curvature  of ln loss, per octave² of the rate
           of a comparison: that of a, that of b, where they differ
from       where these three come from: given, the study's table of runs, its pilots (`pilot:` of the scale), or default
interior   shapes whose optimum would be found inside the grid, on average
se         typical standard error of the slope, where the truth is what the grid expects
expects    slope of the grid's middle: 0 where all shapes run the same rates
detects    smallest departure from that slope, either way, whose 95 % interval shows it in 80 % of the simulations"""
CAVEAT = """\
level      of each one-sided test: 5 % over the headline claims of the paper, Holm's first step; 5 % for other claims
power      chance that a claim is supported where the truth is what it predicts
(bound)    a claim with one bound predicts the bound itself: there its power is about the level by design, whatever the
           grid; what the grid can show is how far beyond it the truth must lie"""


class LawGroup(NamedTuple):
    """One group of a fit of a law, with claims that can be true at once."""

    fit: str
    group: dict[str, Any]
    design: "LawDesign"
    source: str
    claims: list[ClaimConfig]


class Group(NamedTuple):
    """One group of a fit: its key, its name for readers, and its simulated design."""

    fit: str
    group: dict[str, Any]
    design: "Design"
    source: str


def power(args: Namespace) -> None:
    """Print, per group of each learning-rate fit, what its design detects, and the power of each claim's test; of fits
    of laws this power alone.

    Claims of other fits are told by the errors that a finished run left. Raises a MusterError when the study, the fit
    or its rates are not there.
    """
    from muster.claims.law_power import DRAWS, FEWEST
    from muster.claims.power import family_level
    from muster.claims.tests import ALPHA
    from muster.config.load import load_studies

    plan = study_plan(with_defaults(args))
    study = plan.study
    family = [known for known in load_studies(args.config).known.values() if known.slug == study.slug]
    level = family_level(family)
    levels = {claim.claim: level if claim.headline else ALPHA for claim in study.claims}
    finished = _finished(study, args, levels)
    names = _fits(study, args.fit, bool(finished))
    cells, pilot = _cell_table(plan), study.scales[plan.scale].pilot  # type: ignore[index]
    sweeps = [name for name in names if study.fits[name].estimator in SIMULATED]
    found = [group for name in sweeps for group in _groups(name, study.fits[name], cells, args, pilot)]
    rows = [row for claim in study.claims if claim.fit in sweeps for row in _claim_rows(claim, found, levels)]
    if found:
        print(f"{study.study} at scale {plan.scale}, {found[0].design.draws} simulations each\n")
        print_table([HEAD, *(_group_row(group) for group in found)])
    laws = [name for name in names if name not in sweeps]
    designs = [each for name in laws for each in _law_designs(name, study, cells, args, pilot)]
    if designs:
        draws = args.draws or max(DRAWS // len(designs), FEWEST)
        print(f"{study.study} at scale {plan.scale}, {draws} tables each\n")
        print_table([LAW_HEAD, *(_law_row(each) for each in designs)])
        for each in designs:
            rows += _law_claims(each, each.design.simulate(draws), levels)
    if rows:
        print()
        print_table([CLAIM_HEAD, *rows])
    if finished:
        print(f"\nby the errors of the run in {args.results / 'fits' / study.study}:\n")
        print_table([("claim", "test", "predicted", "level", "power there", "se", "dof"), *finished])
    legends = [*([LEGEND] if found else []), *([LAW_LEGEND] if designs else []), CAVEAT]
    print("\n" + "\n".join(legends))


def headline_powers(plan: StudyPlan, family: Sequence[StudyConfig], results: Path | None) -> dict[str, float]:
    """Power, at their own prediction and the family's level, of a planned study's headline claims of two bounds, as far
    as a run or a pilot tells of their errors: by simulation for exponents of learning rates, for others by the errors
    of a finished run. results: the folder of a run of this very plan, None without one. A claim of one bound has none:
    its prediction is the bound, where the power is the level.
    """
    from muster.claims.power import DRAWS, claim_power, family_level
    from muster.claims.tests import two_sided
    from muster.fitting.base import group_key

    study, level = plan.study, family_level(family)
    claims = [claim for claim in study.claims if claim.headline and two_sided(claim.test) and claim.margin]
    found = {claim.claim: told.power for claim, told in _by_errors(study, claims, results, level)}
    names = {claim.fit for claim in claims if study.fits[claim.fit].estimator in SIMULATED}
    pilot = study.scales[plan.scale].pilot  # type: ignore[index]
    if not names or (pilot is None and results is None):
        return found
    nothing = dict.fromkeys(("noise", "tau", "curvature"))
    args = Namespace(study=study.study, scale=plan.scale, results=results, draws=DRAWS, **nothing)
    cells = _cell_table(plan)
    groups = [group for name in sorted(names) for group in _groups(name, study.fits[name], cells, args, pilot)]
    for claim in claims:
        for group in groups:
            own = group.fit == claim.fit and group_key(group.group) == group_key(claim.where)
            if own and DEFAULT not in group.source:
                told = claim_power(group.design, claim.test, claim.predicted, claim.margin, level)
                found[claim.claim] = told["power"]
    return found


class Told(NamedTuple):
    """What a finished run tells of a claim's power."""

    power: float
    se: float
    dof: float


def _by_errors(
    study: StudyConfig, claims: Iterable[ClaimConfig], results: Path | None, level: float
) -> Iterator[tuple[ClaimConfig, Told]]:
    """Claims of two bounds whose fits are not simulated, with the power that the errors of a finished run leave."""
    import math

    from muster.claims.conditions import primary_row
    from muster.claims.power import equivalence_power
    from muster.claims.tests import two_sided
    from muster.tables.io import read_frame

    path = None if results is None else results / "fits" / study.study / "fits.parquet"
    if path is None or not path.exists():
        return
    fits = read_frame(path)
    for claim in claims:
        other = study.fits[claim.fit].estimator not in SIMULATED
        row = primary_row(claim, fits) if other and two_sided(claim.test) and claim.margin else None
        if row is None or not math.isfinite(row["se"]) or row["se"] <= 0:
            continue
        yield claim, Told(equivalence_power(claim.margin, row["se"], row["dof"], level), row["se"], row["dof"])


def _finished(study: StudyConfig, args: Namespace, levels: dict[str, float]) -> list[tuple[str, ...]]:
    """What a finished run tells, a row a claim."""
    chosen = [claim for claim in study.claims if args.fit in (None, claim.fit)]
    rows: list[tuple[str, ...]] = []
    for level in dict.fromkeys(levels.values()):
        own = [claim for claim in chosen if levels[claim.claim] == level]
        for claim, (there, se, dof) in _by_errors(study, own, args.results, level):
            rows.append((*_claimed(claim), f"{level:.2g}", f"{100 * there:.0f} %", f"{se:.2g}", f"{dof:.3g}"))
    return rows


def _claimed(claim: ClaimConfig) -> tuple[str, str, str]:
    predicted = f"{claim.predicted:g} ± {claim.margin:g}" if claim.margin else f"{claim.predicted:g}"
    return claim.claim, claim.test, predicted


def _fits(study: StudyConfig, wanted: str | None, others: bool) -> list[str]:
    """The fits that are simulated; none is a mistake, unless there are others that a finished run tells of."""
    from muster.fitting.laws.law import law_of

    place = f"config/studies/{study.study}.yaml: fits"
    possible = [name for name, fit in study.fits.items() if fit.estimator in SIMULATED or law_of(fit)]
    listed = ", ".join(f"{name} ({fit.estimator})" for name, fit in study.fits.items())
    if wanted is not None and wanted not in study.fits:
        raise MusterError(place, f"no fit {wanted!r}", f"Fits: {listed}")
    if others and (wanted or "") not in possible:
        return [] if wanted else possible
    if not possible or (wanted is not None and wanted not in possible):
        found = (
            f"{wanted} fits neither a learning-rate exponent nor a law"
            if wanted
            else "no fit of a learning-rate exponent or law"
        )
        remedy = f"Power is simulated for {', '.join(SIMULATED)} and laws; the study has {listed}"
        raise MusterError(place, found, remedy)
    return [wanted] if wanted else possible


def _law_designs(
    name: str, study: StudyConfig, cells: "pd.DataFrame", args: Namespace, pilot: PilotConfig | None
) -> list[LawGroup]:
    """The designs of a fit of a law: of the rows that a finished run left, else of those that are planned."""
    from muster.claims.law_power import Noise, compatible, law_design
    from muster.claims.power import Assumptions
    from muster.fitting.base import group_key
    from muster.fitting.frames import groups, select
    from muster.fitting.laws.law import law_of
    from muster.tables.io import read_frame

    fit, place = study.fits[name], f"config/studies/{study.study}.yaml: fits.{name}"
    law, path = law_of(fit), Path(args.results or ".", "tables", study.study, f"{fit.table}.parquet")
    assert law is not None
    at_hand = path.exists()
    noise, source = None, "table"
    if args.noise is not None:
        noise, source = Noise(args.noise), "given"
    elif not at_hand:
        noise, source = (Noise(pilot.noise), "pilots") if pilot else (Noise(Assumptions().noise), DEFAULT)
    try:
        rows = select(read_frame(path) if at_hand else cells, fit.select)
        if not len(rows):
            raise MusterError("select", f"{path} has no such row", "Bring its table and run the study first")
        made = []
        for group, own in groups(rows, fit.by):
            claims = [each for each in study.claims if each.fit == name and group_key(each.where) == group_key(group)]
            for together in compatible(claims, law):
                made.append(LawGroup(name, group, law_design(fit, own, together, noise, at_hand), source, together))
    except MusterError as error:
        raise MusterError(f"{place}.{error.place}", error.found, error.remedy) from None
    return made


def _law_row(each: LawGroup) -> tuple[str, ...]:
    design = each.design
    labels = design.clusters
    where = ", ".join(f"{name} {value:.4g}" for name, value in design.truth.items())
    count = "–" if labels is None else str(labels.max() + 1)
    noise = f"{design.noise.own:.2g}", f"{design.noise.shared:.2g}"
    return (_named(each.fit, each.group), str(len(design.rows)), count, *noise, each.source, where)


def _law_claims(each: LawGroup, found: "dict[str, Slopes]", levels: dict[str, float]) -> list[tuple[str, ...]]:
    from muster.claims.power import power_of_draws

    rows: list[tuple[str, ...]] = []
    for claim in each.claims:
        draws = found.get(claim.parameter or next(iter(found)))
        if draws is None:
            continue
        level = levels[claim.claim]
        told = power_of_draws(draws, claim.test, claim.predicted, claim.margin, level)
        rows.append((*_claimed(claim), f"{level:.2g}", f"{100 * told['power']:.0f} %", told["needs"]))
    return rows


def _cell_table(plan: StudyPlan) -> "pd.DataFrame":
    """One row per planned run, with every scalar setting and the member axes as columns."""
    import pandas as pd

    rows = []
    for planned in plan.cells:
        settings = planned.cell.model_dump()
        keep = {name: value for name, value in settings.items() if not isinstance(value, (list, dict))}
        rows.append(keep | {axis: settings[axis] for axis in plan.member_axes})
    table = pd.DataFrame(rows)
    for axis in plan.member_axes:
        table = table.explode(axis, ignore_index=True)
    return table


def _groups(
    name: str, fit: FitConfig, cells: "pd.DataFrame", args: Namespace, pilot: PilotConfig | None
) -> list[Group]:
    from muster.claims.power import DRAWS, Design, shapes_of
    from muster.fitting.base import ESTIMATORS, parse_options
    from muster.fitting.compared import compared
    from muster.fitting.estimators.lr_transfer import MEMBER
    from muster.fitting.frames import groups, require_columns, select

    place = f"config/studies/{args.study}.yaml: fits.{name}"
    try:
        require_columns(cells, [MEMBER, fit.along], "along")
        chosen = select(cells, fit.select)
        options: Any = parse_options(ESTIMATORS[fit.estimator].options, fit)
        found = []
        for group, rows in groups(chosen, fit.by):
            pair = compared(fit) if fit.estimator == "lr_transfer_difference" else {}
            sides = [select(rows, side, f"options.{name}") for name, side in pair.items()] or [rows]
            shapes = [shapes_of(side, fit.along) for side in sides]
            if min(map(len, shapes)) < 3:
                where = f"{min(map(len, shapes))} value(s) of {fit.along} at scale {args.scale}"
                raise MusterError("along", where, "A slope needs three: choose another --scale, or widen the grid")
            told = [_assumptions(fit, {**group, **side}, args, options, pilot) for side in pair.values() or ({},)]
            assumed, sources = zip(*told, strict=True)
            b, second = (shapes[1], assumed[1]) if pair else (None, None)
            design = Design(shapes[0], b, options, assumed[0], args.draws or DRAWS, assumed_b=second)
            found.append(Group(name, group, design, ", ".join(dict.fromkeys(sources))))
    except MusterError as error:
        raise MusterError(f"{place}.{error.place}", error.found, error.remedy) from None
    if not found:
        raise MusterError(place, "its selection runs nothing", f"Choose another --scale than {args.scale}")
    return found


def _assumptions(
    fit: FitConfig, group: dict[str, Any], args: Namespace, options: Any, pilot: PilotConfig | None
) -> tuple[Any, str]:
    """Given numbers first, then those of a finished run's table, of pilots, defaults; and where they are from."""
    from muster.claims.power import Assumptions

    assumed, source = Assumptions(), DEFAULT
    if pilot is not None:
        assumed, source = Assumptions(pilot.noise, pilot.tau, pilot.curvature), "pilots"
    seen = _seen(args.results / "tables" / args.study / "runs.parquet", fit, group, options) if args.results else None
    if seen is not None:
        assumed, source = seen, "tables"
    given = {name: value for name in Assumptions._fields if (value := getattr(args, name)) is not None}
    if len(given) == len(Assumptions._fields):
        source = "given"
    elif given:
        source = f"given, {source}"
    return assumed._replace(**given), source


def _seen(path: Path, fit: FitConfig, group: dict[str, Any], options: Any) -> Any:
    """Assumptions from a finished run; None when it lacks the group or three optima."""
    if not path.exists():
        return None
    from muster.claims.power import estimate_assumptions
    from muster.fitting.frames import select
    from muster.tables.io import read_frame

    wanted = {**fit.select, **group}
    table = read_frame(path)
    rows = select(table, {name: value for name, value in wanted.items() if name in table.columns})
    return estimate_assumptions(rows, fit, options) if len(rows) else None


def _named(name: str, group: dict[str, Any]) -> str:
    return " ".join([name, *(str(value) for value in group.values())])


def _group_row(group: Group) -> tuple[str, ...]:
    import numpy as np

    from muster.claims.power import STEEPEST, summarize

    design, told = group.design, summarize(group.design)
    shapes = [*design.a, *(design.b or [])]
    seeds, rates = {shape.seeds for shape in shapes}, {len(shape.rates) for shape in shapes}
    detects = f"± {told['detects']:.2g}" if np.isfinite(told["detects"]) else f"none up to {STEEPEST:g}"
    return (
        _named(group.fit, group.group),
        str(len(design.a)),
        "–".join(map(str, sorted({min(seeds), max(seeds)}))),
        "–".join(map(str, sorted({min(rates), max(rates)}))),
        *map(_both, design.assumed, design.assumed_b or design.assumed),
        group.source,
        f"{told['interior']:.1f}",
        f"{told['se']:.2g}",
        f"{told['expected'] + 0.0:.2g}",
        detects,
    )


def _both(a: float, b: float) -> str:
    """A number of both groups of a comparison: once where it is the same."""
    return f"{a:.2g}" if a == b else f"{a:.2g}, {b:.2g}"


def _claim_rows(claim: ClaimConfig, found: list[Group], levels: dict[str, float]) -> list[tuple[str, ...]]:
    from muster.claims.power import claim_power
    from muster.claims.tests import two_sided
    from muster.fitting.base import group_key

    rows: list[tuple[str, ...]] = []
    level = levels[claim.claim]
    for group in found:
        if group.fit == claim.fit and group_key(group.group) == group_key(claim.where):
            told = claim_power(group.design, claim.test, claim.predicted, claim.margin, level)
            there = f"{100 * told['power']:.0f} %{'' if claim.margin or two_sided(claim.test) else ' (bound)'}"
            rows.append((*_claimed(claim), f"{level:.2g}", there, told["needs"]))
    return rows
