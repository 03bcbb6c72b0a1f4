"""What a run ended with: verdicts, ledger and figures, or what failed and where its log is."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from muster.cli.printing import aligned
from muster.jobs.progress import SNAKEMAKE, last_line, to_repeat
from muster.plan.plan import Plan
from muster.plan.study import specified

SHOWN = 5  # failed jobs that are shown with their logs
FEW = 3  # studies whose figures are named one by one, and their fits' notes
LINE = 110  # characters of a note that stand on one


class Artifact(NamedTuple):
    """What a job of the flow makes first, and its log."""

    name: str
    output: Path
    log: Path


def artifacts(plan: Plan) -> Iterator[Artifact]:
    """Every job that a plan may run, in the order of the flow."""
    results = Path(plan.config.results)
    logs = results / "logs"
    for key in plan.datasets:
        yield Artifact(f"data {key}", results / "data" / key / "manifest.json", logs / "data" / f"{key}.log")
    for key in plan.cells:
        yield Artifact(f"cell {key}", results / "runs" / key / "runs.parquet", logs / f"{key}.log")
    for study in plan.studies:
        tables, fits = results / "tables" / study, results / "fits" / study
        yield Artifact(f"tables of {study}", tables / "runs.parquet", logs / "collect" / f"{study}.log")
        yield Artifact(f"fits of {study}", fits / "fits.parquet", logs / "fit" / f"{study}.log")
        if specified(plan.studies[study].study):
            log = logs / "specification" / f"{study}.log"
            yield Artifact(f"specification curves of {study}", fits / "specification.parquet", log)
    yield Artifact("ledger", results / "ledger" / "claims.csv", logs / "judge.log")
    for study, figure, path in figures(plan):
        log = logs / "plot" / (f"{study}/{figure}.log" if study != "overview" else "overview.log")
        yield Artifact(f"figure {figure} of {study}", path, log)


def figures(plan: Plan) -> Iterator[tuple[str, str, Path]]:
    """Study, name and file of each figure of a plan, the overview of the ledger first."""
    folder = Path(plan.config.results, "figures")
    yield "overview", "forest", folder / "overview" / "forest.svg"
    for study, planned in plan.studies.items():
        for name in planned.study.figures:
            yield study, name, folder / study / f"{name}.svg"


def print_failures(plan: Plan, since: float, status: int) -> None:
    """On stderr, the jobs that failed after a time (seconds since 1970), what they said, and their logs.

    A job that failed has no output, for Snakemake deletes it, and a log that was written to.
    """
    failed = [job for job in artifacts(plan) if not job.output.exists() and _written_since(job.log, since)]
    for job in failed[:SHOWN]:
        print(f"\nfailed: {job.name}\n  said   {last_line(job.log) or 'nothing'}\n  log    {job.log}", file=sys.stderr)
        if command := to_repeat(job.log):
            print(f"  retry  {command}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"\nand {len(failed) - SHOWN} more: muster status", file=sys.stderr)
    if not failed:
        logs = sorted((SNAKEMAKE / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        where = f"its messages are above and in {logs[-1]}" if logs else "its messages are above"
        print(f"\nSnakemake ended with exit status {status} and no failed job; {where}", file=sys.stderr)


def _written_since(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False


def lacks_own_table(plan: Plan) -> list[str]:
    """Tables of the user's own that a study of the plan imports and that are not there: no address brings them."""
    from muster.tables.missing import read_missing

    results = Path(plan.config.results)
    lacking = []
    for name, study in plan.studies.items():
        own = {f"source {source}" for cell in study.cells for source, table in getattr(cell.cell, "sources", {}).items()
               if table.address is None}  # fmt: skip
        lacking += [f"{name}: {each.what}: {each.reason}" for each in read_missing(results, name) if each.what in own]
    return lacking


def fit_notes(plan: Plan) -> dict[str, str]:
    """Claim → what its fit notes beside a number: how many clusters of runs it rests on, a bent line, lopsided basins,
    shapes that were left out. Of a fit without a number the verdict says why."""
    from muster.claims.conditions import clusters_told, primary_row
    from muster.tables.io import read_frame

    found = {}
    for name, study in plan.studies.items():
        path = Path(plan.config.results, "fits", name, "fits.parquet")
        if not path.exists():
            continue
        fits = read_frame(path)
        for claim in study.study.claims:
            row = primary_row(claim, fits)
            if row is None or row["status"] != "ok":
                continue
            told = clusters_told(row, study.study.fits[claim.fit]), str(row["note"])
            if any(told):
                found[claim.claim] = ", ".join(filter(None, told))
    return found


def print_outcome(plan: Plan) -> None:
    """Verdict and number of each claim of the plan's studies, what their fits note, the facts counted, and where ledger
    and figures are."""
    from muster.claims.ledger import read_ledger, rows_of
    from muster.claims.page import estimate_text, prediction_text, tally, told_tally

    ledger = Path(plan.config.results, "ledger")
    rows = rows_of(read_ledger(ledger)) if ledger.exists() else []
    print()
    own = [row for row in rows if row["study"] in plan.studies]
    told = [(row["claim"], row["verdict"], row["agrees"], estimate_text(row), prediction_text(row), row["reason"])
            for row in own]  # fmt: skip
    head, *lines = aligned([("claim", "verdict", "agrees", "estimate", "claimed", "why"), *told])
    notes = fit_notes(plan) if len(plan.studies) <= FEW else {}
    if own:
        print(head)
    for row, line in zip(own, lines, strict=True):
        print(line)
        if note := notes.get(row["claim"]):
            print(textwrap.fill(f"its fit: {note}", LINE, initial_indent="  ", subsequent_indent="    "))
    if own:
        print(f"\n{told_tally(tally(own))}")
    if rows:
        print(f"\nledger   {ledger / 'LEDGER.md'}")
    made = [(study, path) for study, _, path in figures(plan) if path.exists() and study != "overview"]
    if len(plan.studies) > FEW:
        made = [(study, path.parent) for study, path in made]
    for i, path in enumerate(dict.fromkeys(path for _, path in made)):
        print(f"{'' if i else 'figures':<9}{path}")
