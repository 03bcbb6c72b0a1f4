"""`muster decide`: run a study shape by shape and stop where its claims are decided, at a level that allows for looks.

What is looked at, and when, is fixed before the first job and written beside the results; an interrupted run goes on
where it stopped, and a look that was taken once is never taken again.
"""

import math
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from muster.cli.check import checked_plan
from muster.cli.inspect import duration
from muster.cli.printing import print_table
from muster.cli.run import overrides, snakemake
from muster.cli.scope import configuration, replaced
from muster.config.models import ClaimConfig, FitConfig, StudyConfig
from muster.digests import digest, sealed
from muster.errors import MusterError
from muster.fitting.compared import compared
from muster.jobs.decisions import decisions_file, read_decisions
from muster.plan.cells import PlannedCell
from muster.plan.study import StudyPlan

if TYPE_CHECKING:
    import pandas as pd

LINE = "ols_t"  # the variant whose statistics the boundaries are those of
REGIONS = ("equivalence", "interval", "less", "greater")
Tables = Callable[[Sequence[PlannedCell]], "Mapping[str, pd.DataFrame]"]


class Decided(NamedTuple):
    """A claim that can be decided by looks.

    shapes: the places of the axis of each look, nested. cells: by place, all that the claim's fit needs there. level:
    of either error over all looks.
    """

    claim: ClaimConfig
    fit: FitConfig
    looks: list[tuple[float, ...]]
    cells: dict[float, list[PlannedCell]]
    level: float

    @property
    def information(self) -> float:
        """Of all planned shapes."""
        from muster.claims.sequential import information

        return information([math.log(x) for x in self.looks[-1]])


def decide(args: Namespace) -> int:
    """Show the looks; unless only they are asked for, run, look, and stop at decisions or where the budget ends.

    Exit status 0 when every claim is decided or all looks are taken, 1 when the budget ended before, 2 for mistakes.
    """
    args.studies = [args.study]
    plan = checked_plan(configuration(args), args.config)
    if args.study not in plan.studies:
        raise MusterError(
            "study", f"{args.study} is not planned", str(plan.left_out.get(args.study, "See muster list"))
        )
    study = plan.studies[args.study]
    family = [known for known in plan.known.values() if known.slug == study.study.slug]
    chosen, left = decidable(study, family, args.claim)
    _print_looks(study, chosen, left)
    if args.show:
        return 0
    results = Path(plan.config.results)
    cores = args.cores or os.cpu_count() or 1

    def run(cells: Sequence[PlannedCell]) -> "Mapping[str, pd.DataFrame]":
        from muster.tables.collect import collect

        targets = [str(results / "runs" / cell.key / "runs.parquet") for cell in cells]
        status = snakemake([*targets, "--cores", str(cores), *overrides(replaced(args))])
        if status:
            raise MusterError(
                "snakemake", f"ended with exit status {status}", "Mend what it says, then go on the same way"
            )
        tables = collect(replace(study, cells=tuple(cells)), results)
        return {str(kind): table for kind, table in tables.items()}

    record = Record(decisions_file(results, args.study), study, chosen)
    finished = take_looks(study, chosen, record, run, Budget(args.budget, cores))
    _print_decisions(chosen, record)
    return 0 if finished else 1


def decidable(
    study: StudyPlan, family: Sequence[StudyConfig], wanted: Sequence[str]
) -> tuple[list[Decided], dict[str, str]]:
    """The claims that looks can decide, and why the others cannot.

    The level is 5 % over the headline claims of the paper's family (Bonferroni, as Holm's first step), so that what is
    decided early holds in the ledger's family. Raises MusterError for an unknown claim, or when none can be decided.
    """
    from muster.claims.power import family_level

    known = [claim.claim for claim in study.study.claims]
    if unknown := sorted(set(wanted) - set(known)):
        raise MusterError("--claim", f"no claim {unknown[0]!r} in {study.study.study}", f"Claims: {', '.join(known)}")
    level = family_level(family)
    found, left = [], {}
    for claim in study.study.claims:
        if wanted and claim.claim not in wanted:
            continue
        made = _decided(study, claim, level)
        if isinstance(made, str):
            left[claim.claim] = made
        else:
            found.append(made)
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        raise MusterError(
            f"study {study.study.study}", f"no claim can be decided by looks ({why})", "Run it: muster run"
        )
    return found, left


def _decided(study: StudyPlan, claim: ClaimConfig, level: float) -> Decided | str:
    from muster.claims.sequential import FIRST, nested_looks
    from muster.fitting.base import ESTIMATORS, primary_variant

    fit = study.study.fits[claim.fit]
    estimator = ESTIMATORS[fit.estimator]
    if LINE not in estimator.variants or primary_variant(fit, estimator.variants) != LINE:
        return f"{fit.estimator} is no line by least squares through one number a shape"
    if claim.parameter not in (None, estimator.first(fit)):
        return f"{claim.parameter} is not the slope"
    if claim.test not in REGIONS:
        return f"a claim of the kind {claim.test} has no margin that a slope could cross"
    if fit.along not in type(study.cells[0].cell).model_fields or fit.along in study.member_axes:
        return f"{fit.along} is no axis of cells, so that no shape can be run without the others"
    sides = [{**fit.select, **claim.where, **group} for group in compared(fit).values() or ({},)]
    cells: dict[float, list[PlannedCell]] = {}
    for planned in study.cells:
        if any(_has(planned, side) for side in sides):
            cells.setdefault(float(getattr(planned.cell, fit.along)), []).append(planned)
    if len(cells) < FIRST:
        return f"{len(cells)} values of {fit.along}: a first look takes {FIRST}"
    return Decided(claim, fit, nested_looks(list(cells)), cells, level if claim.headline else 0.05)


def _has(planned: PlannedCell, selection: Mapping[str, Any]) -> bool:
    """Whether rows of a cell may have the selected values; columns that are no field of a cell say nothing."""
    fields = type(planned.cell).model_fields
    members = type(planned.cell).member_axes
    for column, wanted in selection.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if column in fields and column not in members and getattr(planned.cell, column) not in values:
            return False
    return True


class Record:
    """The looks that were taken, in a file beside the results that is rewritten after each.

    It holds what was planned: a study that was edited since, or another choice of claims, finds a MusterError, for
    looking again by another plan would void the level.
    """

    def __init__(self, path: Path, study: StudyPlan, chosen: Sequence[Decided]):
        self.path = path
        self.plan = {
            one.claim.claim: {
                "test": one.claim.test,
                "predicted": one.claim.predicted,
                "margin": one.claim.margin,
                "level": one.level,
                "along": one.fit.along,
                "looks": [list(look) for look in one.looks],
                "cells": digest(sorted(cell.key for cells in one.cells.values() for cell in cells)),
                "fit": digest(one.fit.model_dump(mode="json")),
            }
            for one in chosen
        }
        self.looks: list[dict[str, Any]] = []
        if not path.exists():
            return
        plan, looks = read_decisions(path)
        if plan != self.plan:
            remedy = "Go on with the same study and claims, or remove the file, and say so where you report the verdict"
            raise MusterError(str(path), f"holds {len(looks)} looks taken by another plan", remedy)
        self.looks = looks

    def of(self, claim: str) -> list[dict[str, Any]]:
        """The looks of a claim, in order."""
        return [look for look in self.looks if look["claim"] == claim]

    def decision(self, claim: str) -> str:
        """supported | refuted | open."""
        taken = self.of(claim)
        return str(taken[-1]["decision"]) if taken else "open"

    def add(self, looks: Sequence[Mapping[str, Any]]) -> None:
        from muster.files import write_text

        self.looks += [dict(look) for look in looks]
        write_text(self.path, sealed({"plan": self.plan, "looks": self.looks}))


class Budget:
    """Seconds that may be spent on cells: what a look will take is reckoned from what earlier ones took."""

    def __init__(self, seconds: float, cores: int):
        self.left = seconds
        self.cores = cores
        self.speed = 1.0  # seconds that pass for each planned one
        self.done: set[str] = set()

    def expected(self, cells: Sequence[PlannedCell]) -> float:
        return self.speed * sum(cell.cost.seconds for cell in cells if cell.key not in self.done) / self.cores

    def spend(self, cells: Sequence[PlannedCell], seconds: float) -> None:
        planned = self.expected(cells)
        if planned > 1 and seconds > 1:
            self.speed *= seconds / planned
        self.left -= seconds
        self.done |= {cell.key for cell in cells}


def take_looks(
    study: StudyPlan, chosen: Sequence[Decided], record: Record, run: Tables, budget: Budget | None = None
) -> bool:
    """Run the shapes of each look that is still open, look, and record it; False when the budget ends before.

    run: makes the tables of some cells. A claim that is decided needs no further shape.
    """
    for number in range(max(len(one.looks) for one in chosen)):
        still = [one for one in chosen if number < len(one.looks) and record.decision(one.claim.claim) == "open"]
        due = [one for one in still if len(record.of(one.claim.claim)) == number]
        if not due:
            continue
        cells = list({cell.key: cell for one in due for x in one.looks[number] for cell in one.cells[x]}.values())
        if budget and budget.expected(cells) > budget.left:
            names = ", ".join(one.claim.claim for one in due)
            print(
                f"\nthe budget ends before look {number + 1}: it would take about {duration(budget.expected(cells))}, "
                f"{duration(max(budget.left, 0))} are left. Still open: {names}. Go on with a larger --budget"
            )
            return False
        start = time.monotonic()
        tables = run(cells)
        if budget:
            budget.spend(cells, time.monotonic() - start)
        record.add([_look(study, one, number, record.of(one.claim.claim), tables) for one in due])
    return True


def _look(
    study: StudyPlan,
    one: Decided,
    number: int,
    before: Sequence[Mapping[str, Any]],
    tables: "Mapping[str, pd.DataFrame]",
) -> dict[str, Any]:
    from muster.claims.sequential import as_record, look
    from muster.fitting.base import group_key
    from muster.fitting.study import fit_study

    claim, shapes = one.claim, one.looks[number]
    fit = one.fit.model_copy(update={"select": {**one.fit.select, **claim.where, one.fit.along: list(shapes)}})
    alone = study.study.model_copy(update={"fits": {claim.fit: fit}})
    optima, fits = fit_study(alone, dict(tables))
    rows = fits[fits["primary"] & (fits["group"] == group_key(claim.where))]
    head = {"claim": claim.claim, "look": number + 1, "of": len(one.looks), "shapes": list(shapes)}
    used = sorted(_used(optima, claim, shapes))
    row = rows.iloc[0] if len(rows) else None
    if row is None or row["status"] != "ok" or not math.isfinite(row["se"]) or row["dof"] != len(used) - 2:
        why = "no such group" if row is None else row["note"] or row["status"]
        return {**head, "decision": "open", "note": str(why)}
    taken = [[math.log(x) for x in past["used"]] for past in before if "used" in past]
    last = number == len(one.looks) - 1
    found = look(
        (claim.test, claim.predicted, claim.margin), float(row["estimate"]), float(row["se"]),
        [*taken, [math.log(x) for x in used]], one.information, last, one.level,
    )  # fmt: skip
    return {**head, "used": used, **as_record(found)}


def _used(optima: "pd.DataFrame", claim: ClaimConfig, shapes: Sequence[float]) -> Iterator[float]:
    """The shapes whose number entered the slope: those with an optimum inside the grid in every group that is compared,
    all where no optimum is sought."""
    if optima.empty:
        yield from shapes
        return
    inside = optima[optima["status"] == "interior"]
    sides = optima["group"].nunique()
    found = inside.groupby("x")["group"].nunique()
    yield from (x for x in shapes if found.get(x, 0) == sides)


def _print_looks(study: StudyPlan, chosen: Sequence[Decided], left: Mapping[str, str]) -> None:
    from muster.claims.sequential import boundaries

    rows: list[tuple[str, ...]] = [
        ("claim", "region", "level", "look", "shapes", "cells", "support above", "refute above")
    ]
    for one in chosen:
        sides = 2 if one.claim.test in ("equivalence", "interval") else 1
        places = [[math.log(x) for x in look] for look in one.looks]
        support = boundaries(places, one.information, one.level, last=True)
        refute = boundaries(places, one.information, one.level / sides, last=True)
        for number, shapes in enumerate(one.looks):
            head = (one.claim.claim, _region(one.claim), f"{one.level:.2g}") if number == 0 else ("", "", "")
            cells = {cell.key for x in shapes for cell in one.cells[x]}
            named = f"{len(shapes)} of {one.fit.along} {shapes[0]:g} … {shapes[-1]:g}"
            rows.append(
                (*head, str(number + 1), named, str(len(cells)), f"{support[number]:.2f}", f"{refute[number]:.2f}")
            )
    print(f"{study.study.study} at scale {study.scale}: slopes by least squares, in standard errors from a bound\n")
    print_table(rows)
    for name, why in left.items():
        print(f"not by looks: {name}: {why}")
    print()


def _region(claim: ClaimConfig) -> str:
    signs = {"less": "≤", "greater": "≥"}
    sign = signs.get(claim.test, "")
    return f"{sign} {claim.predicted:g}".strip() + (f" ± {claim.margin:g}" if claim.margin else "")


def _print_decisions(chosen: Sequence[Decided], record: Record) -> None:
    rows: list[tuple[str, ...]] = [("claim", "verdict", "look", "estimate", "se", "inside by", "needs", "shapes run")]
    for one in chosen:
        for taken in record.of(one.claim.claim)[-1:]:
            over = taken["decision"] == "open" and taken["look"] == taken["of"]
            word = "inconclusive" if over else taken["decision"]
            seen = [taken.get(name) for name in ("estimate", "se", "statistic", "boundary")]
            numbers = ["–" if number is None else f"{number:.3g}" for number in seen]
            shapes = f"{len(taken['shapes'])} of {len(one.looks[-1])}"
            rows.append((one.claim.claim, word, f"{taken['look']} of {taken['of']}", *numbers, shapes))
    print()
    print_table(rows)
    print(f"\nlooks    {record.path}")
