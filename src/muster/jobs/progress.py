"""What has become of each planned cell, read off its files and Snakemake's markers: no DAG is built."""

import os
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from muster.digests import unsealed
from muster.jobs.fingerprint import cell_fingerprint
from muster.plan.cells import PlannedCell
from muster.plan.plan import Plan

State = Literal["done", "stale", "running", "interrupted", "failed", "waiting"]
STATES: tuple[State, ...] = ("done", "stale", "running", "interrupted", "failed", "waiting")
TO_DO = frozenset(STATES) - {"done"}
SNAKEMAKE = Path(".snakemake")
RECENT = 50  # finished cells that the present rate is measured on


@dataclass(frozen=True)
class Found:
    """One planned cell: its state, why a stale or failed one has to run, seconds that a finished one took, and what
    made it."""

    cell: PlannedCell
    state: State
    reason: str = ""
    seconds: float | None = None
    finished: float = 0.0
    log: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


def survey(plan: Plan, running: bool) -> dict[str, Found]:
    """The state of every cell of the plan, by its key. running: whether a Snakemake is at work in this folder.

    Looking takes seconds, in which a cell may start: what looks failed is looked at once more.
    """
    results = plan.config.results
    started = started_outputs()
    found = {key: _look(cell, results, started, running) for key, cell in plan.cells.items()}
    if running and (failed := [key for key, cell in found.items() if cell.state == "failed"]):
        started = started_outputs()
        found |= {key: _look(plan.cells[key], results, started, running) for key in failed}
    return found


def _look(cell: PlannedCell, results: str, started: set[str], running: bool) -> Found:
    output = f"{results}/runs/{cell.key}/runs.parquet"
    log = Path(results, "logs", f"{cell.key}.log")
    if output in started:
        return Found(cell, "running" if running else "interrupted", log=log)
    try:
        finished = os.stat(output).st_mtime
    except FileNotFoundError:
        said = last_line(log)  # a job's log opens with its command; `snakemake --touch` leaves empty ones
        return Found(cell, "failed", said, log=log) if said else Found(cell, "waiting")
    try:
        record = unsealed(Path(output).with_name("provenance.json").read_bytes())
        made, seconds = str(record["code"]), float(record["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return Found(cell, "stale", "its provenance.json is missing or damaged", log=log)
    code = cell_fingerprint(cell.experiment, cell.cell, cell.dtype)
    if made != code:
        return Found(cell, "stale", f"made by other code ({made}, now {code})", seconds, finished, log)
    return Found(cell, "done", "", seconds, finished, log, record)


def started_outputs(snakemake: Path = SNAKEMAKE) -> set[str]:
    """Outputs that Snakemake has marked as begun and not finished: one file each, named by the path in base64."""
    folder = snakemake / "incomplete"
    names = ("".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
             for path in folder.rglob("*") if path.is_file())  # fmt: skip
    return {urlsafe_b64decode(name).decode() for name in names if not name.startswith(("migration", "."))}


def snakemake_at_work() -> bool:
    """Whether a Snakemake process runs in this folder. Its lock alone does not tell: one that was killed leaves it."""
    import psutil

    if not locked():
        return False
    here = str(Path.cwd())
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == here and any("snakemake" in Path(word).name for word in words[:3]):
            return True
    return False


def locked() -> bool:
    """Whether Snakemake's lock lies in this folder."""
    return any((SNAKEMAKE / "locks").glob("*.lock"))


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def to_repeat(log: Path | None) -> str:
    """The command that a job's log opens with."""
    try:
        first = log.read_text(errors="replace").partition("\n")[0] if log else ""
    except OSError:
        return ""
    return first.removeprefix("to repeat: ").strip() if first.startswith("to repeat: ") else ""


def counts(found: Iterable[Found]) -> Counter[State]:
    """How many cells are in each state."""
    return Counter(cell.state for cell in found)


def core_seconds_left(found: Iterable[Found]) -> tuple[float, bool]:
    """Work left in core-seconds, and whether it rests on a measurement.

    The plan's cost of each cell, times the measured ratio of seconds taken to seconds planned: of the experiment's own
    finished cells, else of all.
    """
    found = list(found)
    taken: Counter[str] = Counter()
    planned: Counter[str] = Counter()
    for cell in found:
        if cell.seconds is not None:
            for name in (cell.cell.experiment, ""):
                taken[name] += cell.seconds  # type: ignore[assignment]
                planned[name] += cell.cell.cost.seconds  # type: ignore[assignment]
    ratio = {name: taken[name] / planned[name] for name in taken if planned[name] > 0}
    overall = ratio.get("", 1.0)
    left = sum(c.cell.cost.seconds * ratio.get(c.cell.experiment, overall) for c in found if c.state in TO_DO)
    return left, bool(ratio)


def wall_seconds_left(found: Iterable[Found], now: float | None = None) -> float | None:
    """Time left at the rate of the last finished cells, in seconds; None without three of them within their own time.

    The rate is planned work a second of wall time, so it knows how many jobs run side by side and what starting costs.
    """
    found = list(found)
    now = time.time() if now is None else now
    last = sorted((c for c in found if c.state == "done" and c.finished <= now), key=lambda c: c.finished)[-RECENT:]
    if len(last) < 3:
        return None
    work = sum(cell.cell.cost.seconds for cell in last[1:])
    rate = work / max(now - last[0].finished, 1e-3)
    left = sum(cell.cell.cost.seconds for cell in found if cell.state in TO_DO)
    return left / rate if rate > 0 else None
