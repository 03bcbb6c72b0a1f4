"""The command `publish`: complete studies go from the workbench to what the repository shows, and nothing else does.

results/published/ledger/            the table of all claims with their verdicts
results/published/fits/STUDY/        what the study's claims were judged from
results/published/tables/STUDY/      what its fits were made from; kept by DVC
results/published/figures/STUDY/     the study's figures, small, and those of the ledger
results/published/records/STUDY.json scale, cells, codes and versions
"""

import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.claims.changed import declared
from muster.claims.tests import VERDICTS
from muster.cli.check import checked_plan
from muster.cli.page import published_figures, write_page
from muster.cli.printing import print_table
from muster.cli.stages import OVERVIEW_PIXELS, draw, fit_stamp, questions_of
from muster.config.load import load_config
from muster.config.models import PUBLISHED, StudyConfig
from muster.digests import digest, sealed, unsealed
from muster.errors import MusterError
from muster.files import replaced, write_text
from muster.jobs.progress import STATES, Found, counts, snakemake_at_work, survey
from muster.jobs.tracking import first_declared, records
from muster.plan.plan import Plan
from muster.plan.study import StudyPlan, fitted_settings, specified

if TYPE_CHECKING:
    import pandas as pd

PARTS = {"scale": "scale", "cells": "grid", "fits": "models", "regime": "regimes of claims", "code": "code",
         "tables": "tables"}  # of a fit's stamp  # fmt: skip


def publish(args: Namespace) -> int:
    """Publish studies from complete runs at one scale, after showing what verdicts change.

    Returns 2 and names every problem of every study if one cannot be published, 1 if the answer is no.
    """
    given = {"scale": args.scale, "studies": args.studies or None, "results": args.results and str(args.results)}
    plan = checked_plan(
        load_config(args.config, {name: value for name, value in given.items() if value is not None}), args.config
    )
    if plan.config.scale == "smoke":
        raise MusterError("scale smoke", "judges nothing, so there is nothing to publish", "Choose another --scale")
    found = list(_problems(plan, f" --results {args.results}" if args.results else ""))
    for problem in found:
        print(f"muster publish: {problem}", file=sys.stderr)
    if found:
        return 2
    before, after = _published_ledger(), _judged(plan)
    _print_changes(before, after, plan)
    if not (args.yes or _agreed()):
        print("nothing was published")
        return 1
    with replaced(PUBLISHED) as folder:
        _write(plan, after, folder, args.config)
    print(f"published in {PUBLISHED}: {', '.join(plan.studies)}. Next: git add {PUBLISHED}; tables: muster track")
    return 0


def _agreed() -> bool:
    """Ask. Raises MusterError where nobody can answer."""
    try:
        return input(f"publish this in {PUBLISHED}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        raise MusterError("the question", "nobody answers it here", "Give --yes not to be asked") from None


def _problems(plan: Plan, results: str) -> Iterator[MusterError]:
    """Why studies cannot be published, each with the command that mends it. results: option of those commands."""
    cells = survey(plan, snakemake_at_work())
    for name, study in plan.studies.items():
        where = f"{name} --scale {plan.config.scale}{results}"
        place = f"{name} at scale {plan.config.scale}"
        if found := _unfinished([cells[cell.key] for cell in study.cells]):
            yield MusterError(place, found, f"Run: muster run {where}")
            continue
        try:
            yield from _unfit(plan, study, place, where)
        except MusterError as error:
            yield MusterError(f"{place}, {error.place}", error.found, error.remedy)


def _unfinished(cells: list[Found]) -> str:
    """Which cells are not done, and why; empty if all are."""
    number = counts(cells)
    if number["done"] == len(cells):
        return ""
    states = ", ".join(f"{number[state]} {state}" for state in STATES if number[state])
    reason = next((f": {cell.reason}" for cell in cells if cell.state in ("stale", "failed") and cell.reason), "")
    return f"of its {len(cells)} cells {states}{reason}"


def _unfit(plan: Plan, study: StudyPlan, place: str, where: str) -> Iterator[MusterError]:
    """What is wrong with tables and fits of a study whose cells are done."""
    from muster.tables.collect import collect
    from muster.tables.io import content_digest, frame_digest, read_frame
    from muster.tables.missing import explain_missing, read_missing

    name, results = study.study.study, Path(plan.config.results)
    if missing := read_missing(results, name):
        yield MusterError(place, explain_missing(missing), "Until then publish the others by their names")
        return
    folder = results / "tables" / name
    collected = collect(study, results)
    differ = [k for k, frame in collected.items() if content_digest(folder / f"{k}.parquet") != frame_digest(frame, k)]
    if differ:
        found = f"its tables are not those of its cells ({', '.join(differ)})"
        yield MusterError(place, found, f"Make them with: muster collect {where} && muster fit {where}")
        return
    made = _stamp_of(results / "fits" / name / "fits.json")
    stamp = fit_stamp(_scope(plan), study)
    if made != stamp:
        other = [word for part, word in PARTS.items() if made.get(part) != stamp[part]]
        found = f"its fits were made from other {', '.join(other)}" if made else "it has no fits"
        yield MusterError(place, found, f"Make them with: muster fit {where}")
        return
    for path in [*(folder / f"{kind}.parquet" for kind in collected), *(results / "fits" / name).glob("*.parquet")]:
        read_frame(path)
    if specified(study.study) and not _specification_is_current(results, name, stamp):
        found = "its specification curves are missing, or made from something else than its fits"
        yield MusterError(place, found, f"Make them with: muster specify {where}")


def _scope(plan: Plan) -> Namespace:
    """What the stages' functions want to know of a run."""
    chosen = plan.config
    return Namespace(results=Path(chosen.results), scale=chosen.scale, seeds=chosen.seeds, dtype=chosen.dtype)


def _stamp_of(path: Path) -> dict[str, Any]:
    try:
        return unsealed(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _specification_is_current(results: Path, name: str, stamp: Mapping[str, Any]) -> bool:
    made = _stamp_of(results / "provenance" / "fits" / name / "specification.json").get("config", {})
    there = (results / "fits" / name / "specification.parquet").exists()
    return there and {part: made.get(part) for part in stamp} == stamp


def _published_ledger() -> "pd.DataFrame | None":
    from muster.claims.ledger import read_ledger

    folder = PUBLISHED / "ledger"
    return read_ledger(folder) if folder.exists() else None


def _judged(plan: Plan) -> "pd.DataFrame":
    """The new ledger: the plan's studies from their fits, others from their published fits.

    A study that this command has not published yet, or whose models have changed since, keeps the rows that it has.
    """
    from muster.claims.ledger import judge
    from muster.tables.io import read_frame

    scales = dict.fromkeys(plan.known, plan.config.scale)
    paths = {name: Path(plan.config.results, "fits", name, "fits.parquet") for name in plan.studies}
    for name, record in records(PUBLISHED).items():
        path = PUBLISHED / "fits" / name / "fits.parquet"
        if name in plan.known and name not in paths and path.exists() and _models_are(plan.known[name], record):
            paths[name], scales[name] = path, record["scale"]
    fits = {name: read_frame(path) for name, path in paths.items()}
    regimes = {name: read_frame(path.with_name("regime.parquet")) for name, path in paths.items()}
    made = {name: Path(plan.config.results) if name in plan.studies else PUBLISHED for name in fits}
    first = {name: said for name, results in made.items() if (said := first_declared(results, PUBLISHED, name))}
    return judge(list(plan.known.values()), fits, scales, kept=_published_ledger(), regimes=regimes, first=first)


def _models_are(study: StudyConfig, record: Mapping[str, Any]) -> bool:
    made = record["made_from"]
    return all(made.get(part) == digest(settings) for part, settings in fitted_settings(study).items())


def _print_changes(before: "pd.DataFrame | None", after: "pd.DataFrame", plan: Plan) -> None:
    """Old and new verdict of each claim whose verdict changes, by study, and how many verdicts there are of each."""
    old, new = ({} if ledger is None else _by_claim(ledger) for ledger in (before, after))
    studies = {claim: row["study"] for claim, row in [*old.items(), *new.items()]}
    changed = {name: [c for c, s in studies.items() if s == name and _verdict(old, c) != _verdict(new, c)]
               for name in dict.fromkeys([*plan.studies, *studies.values()])}  # fmt: skip
    for name, claims in changed.items():
        if not claims and name not in plan.studies:
            continue
        number = sum(row["study"] == name for row in new.values())
        why = f"at scale {plan.config.scale}" if name in plan.studies else "(not published now)"
        print(f"{name} {why}: {len(claims)} of {number} verdicts change")
        if claims:
            print_table([("", claim, f"{_verdict(old, claim)} → {_verdict(new, claim)}") for claim in claims])
    tallies = [[sum(row["verdict"] == verdict for row in rows.values()) for rows in (old, new)] for verdict in VERDICTS]
    print("all claims")
    print_table([("", verdict, f"{then} → {now}") for verdict, (then, now) in zip(VERDICTS, tallies, strict=True)])


def _by_claim(ledger: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    from muster.claims.ledger import rows_of

    return {row["claim"]: row for row in rows_of(ledger)}


def _verdict(rows: Mapping[str, Mapping[str, Any]], claim: str) -> str:
    return str(rows[claim]["verdict"]) if claim in rows else "no claim"


def _write(plan: Plan, ledger: "pd.DataFrame", folder: Path, config: Path) -> None:
    """Bring the plan's studies and the ledger into a copy of what is published; remove studies that are no more."""
    from muster.claims.ledger import write_ledger

    for name in {*records(folder)} - {*plan.known}:
        _remove(folder, name)
    for study in plan.studies.values():
        _remove(folder, study.study.study)
        _write_study(plan, study, folder)
    shown = _shown(plan, folder)
    write_ledger(ledger, folder / "ledger", shown, questions_of(plan.known))
    write_page(ledger, folder / "ledger", plan.known, config, shown)
    for name, study in plan.studies.items():
        for figure in study.study.figures:
            _draw(plan, folder, config, name, figure)
    _draw(plan, folder, config, "overview", "forest")


def _remove(folder: Path, name: str) -> None:
    for part in ("tables", "fits", "figures"):
        shutil.rmtree(folder / part / name, ignore_errors=True)
    (folder / "records" / f"{name}.json").unlink(missing_ok=True)


def _write_study(plan: Plan, study: StudyPlan, folder: Path) -> None:
    from muster.tables.collect import collect, collect_sources, write_tables

    name, results = study.study.study, Path(plan.config.results)
    write_tables(collect(study, results), folder / "tables" / name, collect_sources(study, results))
    shutil.copytree(results / "fits" / name, folder / "fits" / name, ignore=shutil.ignore_patterns(".*"))
    write_text(folder / "records" / f"{name}.json", sealed(_record(plan, study)))


def _record(plan: Plan, study: StudyPlan) -> dict[str, Any]:
    """What a publication was made from. No date: the same run published twice gives the same bytes."""
    from muster.jobs.fingerprint import stage_fingerprint

    cells: dict[str, str] = {}
    versions: dict[str, set[str]] = {}
    for cell in study.cells:
        made = unsealed(Path(plan.config.results, "runs", cell.key, "provenance.json").read_bytes())
        cells[cell.key] = made["code"]
        for package, version in made["versions"].items():
            versions.setdefault(package, set()).add(version)
    return {
        "study": study.study.study,
        "scale": plan.config.scale,
        "seeds": plan.config.seeds,
        "dtype": plan.config.dtype,
        "cells": cells,
        "code": {stage: stage_fingerprint(stage) for stage in ("collect", "fit", "judge", "plot")},
        "made_from": fit_stamp(_scope(plan), study),
        "declared": first_declared(Path(plan.config.results), None, study.study.study) or declared(study.study),
        "versions": {package: sorted(found) for package, found in versions.items()},
    }


def _shown(plan: Plan, folder: Path) -> dict[str, str]:
    """The ledger's name of each figure that is published → its file."""
    drawn = (Path("figures", name, figure) for name in plan.studies for figure in plan.known[name].figures)
    return published_figures(folder) | {f"{path}.svg": f"{path}.png" for path in drawn}


def _draw(plan: Plan, folder: Path, config: Path, study: str, figure: str) -> None:
    """Draw a figure from what is published: the overview as SVG and PNG, others as a small PNG."""
    from muster.plots import save, save_small

    of = Namespace(**vars(_scope(plan)) | {"config": config, "study": study, "figure": figure, "results": folder})
    path = folder / "figures" / study / f"{figure}.png"
    if study == "overview":
        save(draw(of), path.with_suffix(".svg"), path, OVERVIEW_PIXELS)
    else:
        save_small(draw(of), path)
