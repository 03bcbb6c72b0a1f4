"""The command `status`: what is done, what runs, what failed and how to retry it, what is stale and why."""

import os
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from muster.cli.inspect import duration
from muster.cli.printing import print_table
from muster.cli.run import overrides
from muster.cli.scope import planned, replaced
from muster.cli.summary import lacks_own_table
from muster.digests import unsealed
from muster.jobs.fingerprint import stage_fingerprint
from muster.jobs.progress import (
    STATES,
    Found,
    core_seconds_left,
    counts,
    locked,
    snakemake_at_work,
    survey,
    to_repeat,
    wall_seconds_left,
)
from muster.jobs.provenance import makers, mixed
from muster.plan.plan import Plan
from muster.plan.study import StudyPlan

SHOWN = 5  # failed cells that are shown with their commands


def status(args: Namespace) -> int:
    """Progress of the studies, time left, failures with the command that retries them; with --why, Snakemake's reasons.

    Returns 1 if a cell failed, or a table of the user's own is missing, so that scripts can tell.
    """
    plan = planned(args)
    running = snakemake_at_work()
    cells = survey(plan, running)
    print(f"scale {plan.config.scale}, results in {plan.config.results}: {_headline(running)}")
    print_table(_rows(plan, cells))
    print(f"\n{_outlook(list(cells.values()), running, args.cores or os.cpu_count() or 1)}")
    _print_stale(cells)
    _print_mixed(plan, cells)
    failed = [cell for cell in cells.values() if cell.state == "failed"]
    _print_failed(failed)
    if args.why:
        _print_reasons(replaced(args))
    lacking = lacks_own_table(plan)
    for table in lacking:
        print(f"missing: {table}")
    return 1 if failed or lacking else 0


def _headline(running: bool) -> str:
    if running:
        return "Snakemake is at work"
    if locked():
        return "locked by a Snakemake that is not at work here; if it was killed: snakemake --unlock, then run again"
    return "nothing is running"


def _rows(plan: Plan, cells: dict[str, Found]) -> list[tuple[str, ...]]:
    header = ("study", "", *STATES, "tables", "fits", "left")
    return [header, *(_row(study, cells, Path(plan.config.results)) for study in plan.studies.values())]


def _row(plan: StudyPlan, cells: dict[str, Found], results: Path) -> tuple[str, ...]:
    own = [cells[cell.key] for cell in plan.cells]
    number = counts(own)
    left, _ = core_seconds_left(own)
    share = number["done"] / len(own)
    bar = "█" * round(10 * share) + "·" * (10 - round(10 * share))
    return (
        plan.study.study,
        bar,
        f"{number['done']}/{len(own)}",
        *(str(number[state] or "–") for state in STATES[1:]),
        _made(results, f"tables/{plan.study.study}", "runs.parquet", "collect", plan),
        _made(results, f"fits/{plan.study.study}", "fits.parquet", "fit", plan),
        duration(left) if left else "",
    )


def _made(results: Path, folder: str, file: str, stage: str, plan: StudyPlan) -> str:
    """Whether an artifact of a study is there, and still belongs to its plan and the code of its stage."""
    if not (results / folder / file).exists():
        return "–"
    record = _record(results / "provenance" / (folder if stage == "collect" else f"{folder}/fits"))
    if not record:
        return "no record"
    if record.get("config", {}).get("cells") != plan.digest:
        return "other grid"
    code = stage_fingerprint(stage, plan.study if stage == "fit" else None)
    if record.get("code") != code:
        return "other code"
    return "mixed" if record.get("mixed") else "made"


def _record(artifact: Path) -> dict[str, Any]:
    try:
        return unsealed(artifact.with_name(f"{artifact.name}.json").read_bytes())
    except (OSError, ValueError):
        return {}


def _outlook(found: list[Found], running: bool, cores: int) -> str:
    number = counts(found)
    done = f"{number['done']} of {len(found)} cells are done"
    if number["done"] == len(found):
        return done
    wall = wall_seconds_left(found) if running else None
    if wall is not None:
        return f"{done}; about {duration(wall)} left at the present rate"
    left, measured = core_seconds_left(found)
    basis = "by the rates of finished cells" if measured else "by the plan's estimate: nothing is finished yet"
    return f"{done}; about {duration(left / cores)} left on {cores} cores, {basis}"


def _print_stale(cells: dict[str, Found]) -> None:
    reasons = Counter((cell.cell.experiment, cell.reason) for cell in cells.values() if cell.state == "stale")
    if reasons:
        print("\nstale: these cells are made anew by the next run")
        print_table([("", experiment, f"{number} cells", reason) for (experiment, reason), number in reasons.items()])


def _print_mixed(plan: Plan, cells: dict[str, Found]) -> None:
    """Studies whose finished cells come from several versions of a library, or devices: their tables mix them."""
    rows = []
    for name, study in plan.studies.items():
        made = makers(cells[cell.key].record for cell in study.cells if cells[cell.key].state == "done")
        rows += [("", name, line) for line in mixed(made)]
    if rows:
        print("\nmixed: the cells of these studies are not of one make; delete the older ones to make them anew")
        print_table(rows)


def _print_failed(failed: list[Found]) -> None:
    for cell in failed[:SHOWN]:
        print(f"\nfailed: {cell.cell.key}\n  said   {cell.reason or 'nothing'}\n  log    {cell.log}")
        if command := to_repeat(cell.log):
            print(f"  retry  {command}")
    if len(failed) > SHOWN:
        print(f"\nand {len(failed) - SHOWN} more; all are tried again by the next run")


def _print_reasons(settings: dict[str, Any]) -> None:
    """Snakemake's own account of every output, which costs a dry run: how many of each rule are due, and why."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--summary", *overrides(settings)], capture_output=True, text=True
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    due = Counter((row[2], row[4]) for row in rows[1:] if len(row) == 6 and row[5] != "no update")
    print("\nSnakemake's reasons")
    print_table([("rule", "outputs", "why"), *((rule, number, why) for (rule, why), number in sorted(due.items()))])
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
