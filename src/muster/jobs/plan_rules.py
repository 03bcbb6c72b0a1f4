"""What the Snakefile asks of a plan: paths, wildcard patterns, resources, and what a job must still find as planned.

Nothing here knows Snakemake but `rule_function`, which says what Snakemake would otherwise look up for every job.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, TypeVar, cast

from muster.config.models import FigureConfig, shared_folder
from muster.errors import MusterError
from muster.experiments import Cell
from muster.jobs.fingerprint import cell_fingerprint
from muster.jobs.provenance import made_before
from muster.plan.cells import PlannedCell
from muster.plan.plan import Plan
from muster.plan.study import LEDGER_PLOTS, SPECIFICATION_PLOTS
from muster.published.source import source_folder

TABLES = ("runs", "curves", "probes")
NARROW = 512  # cells below this width train under one rule, wider ones under one for each power of two
SECONDS_A_MINUTE = 15  # of the estimate: a job is granted four times as long as it should take

Function = TypeVar("Function", bound=Callable[..., Any])


def rule_function(function: Function) -> Function:
    """A function of wildcards for a rule: a MusterError in it ends Snakemake with that one line, no traceback.

    Snakemake asks `inspect.signature` for its parameters several times a job, which takes longer than most of these
    functions do; a stored signature is handed out as it is.
    """

    @functools.wraps(function)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MusterError as error:
            sys.exit(f"muster: {error}")

    answer.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return answer  # type: ignore[return-value]


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint that only these names satisfy; no name, no match."""
    return "|".join(names) or "(?!)"


def options(plan: Plan, config_file: str) -> str:
    """Options by which a rule's command repeats what the plan was made from."""
    chosen = plan.config
    seeds = f" --seeds {chosen.seeds}" if chosen.seeds else ""
    where = f"--config {quote(config_file)} --results {quote(chosen.results)}"
    return f"{where} --scale {chosen.scale} --dtype {chosen.dtype}{seeds}"


def run_paths(plan: Plan, studies: Iterable[str]) -> list[str]:
    """The run tables of all cells of some studies, each once."""
    cells = (cell for study in studies for cell in plan.studies[study].cells)
    return list(dict.fromkeys(f"{plan.config.results}/runs/{cell.key}/runs.parquet" for cell in cells))


def lost_runs(plan: Plan) -> list[str]:
    """Cells that are not there though the tables made of them are: deleted, or failed on a rerun.

    Snakemake looks no further than a table that stands, so `all` names these. Naming all would lengthen a dry run.
    """
    if plan.config.mode == "replay":
        return []
    made = [study for study in plan.studies if Path(plan.config.results, "tables", study, "runs.parquet").exists()]
    return [path for path in run_paths(plan, made) if not os.path.exists(path)]


def table_paths(plan: Plan, studies: Iterable[str]) -> list[str]:
    """The frozen tables of some studies."""
    return [f"{plan.config.results}/tables/{study}/{table}.parquet" for study in studies for table in TABLES]


def fit_paths(plan: Plan) -> list[str]:
    """The fits of all planned studies, and what is predicted by those that are fitted here: earlier versions did not
    write that file, and Snakemake makes nothing anew of which one file has no record unless that file is asked for."""
    fitted = [f"{study}/predictions" for study in plan.studies if study not in plan.fits_at_hand]
    return [f"{plan.config.results}/fits/{name}.parquet" for name in [*(f"{s}/fits" for s in plan.studies), *fitted]]


def figure_paths(plan: Plan) -> list[str]:
    """All figures of the planned studies whose tables are or can be here, and the overview, in both formats."""
    drawn = {name: planned for name, planned in plan.studies.items() if name not in plan.fits_at_hand}
    figures = [f"{study}/{name}" for study, planned in drawn.items() for name in planned.study.figures]
    return [
        f"{plan.config.results}/figures/{figure}.{kind}"
        for figure in ["overview/forest", *figures]
        for kind in ("svg", "png")
    ]


def find_cell(plan: Plan, key: str) -> PlannedCell:
    """The planned cell of an output's folder. Raises MusterError for a folder outside the plan."""
    if key not in plan.cells:
        place = f"{plan.config.results}/runs/{key}"
        raise MusterError(place, "no such cell in the plan", "List cells with: muster plan STUDY --cells")
    return plan.cells[key]


def find_figure(plan: Plan, study: str, name: str) -> FigureConfig:
    """A figure's section of a study. Raises MusterError for a name that the study does not have."""
    figures = plan.studies[study].study.figures
    if name not in figures:
        known = ", ".join(figures) or "none"
        raise MusterError(f"{study}: figures.{name}", "no such figure", f"Figures of the study: {known}")
    return figures[name]


def shows_verdicts(figure: FigureConfig) -> bool:
    """Whether a figure needs the ledger."""
    return figure.plot in LEDGER_PLOTS


def shows_specification(figure: FigureConfig) -> bool:
    """Whether a figure needs a fit under every choice of estimator."""
    return figure.plot in SPECIFICATION_PLOTS


def width_of(cell: PlannedCell) -> int:
    """The width of a cell of the stage train: every one has a width."""
    return cast(Cell, cell.cell).width


def tier(cell: PlannedCell) -> str:
    """Name of the rule that trains a cell; from width 512 on one rule for each power of two."""
    width = width_of(cell)
    return "train" if width < NARROW else f"train_w{1 << width.bit_length() - 1}"


def rule_of(cell: PlannedCell) -> str:
    """Name of the rule that makes a cell."""
    return tier(cell) if cell.stage == "train" else cell.stage


def cells_by_rule(plan: Plan) -> dict[str, list[PlannedCell]]:
    """All cells by the rule that makes them."""
    found: dict[str, list[PlannedCell]] = {}
    for cell in plan.cells.values():
        found.setdefault(rule_of(cell), []).append(cell)
    return found


def width_pattern(cells: Iterable[PlannedCell]) -> str:
    """A wildcard constraint that these cells' folders satisfy, and none of another width."""
    return f"w({one_of(sorted({str(width_of(cell)) for cell in cells}))})-[^/]+"


class Request(NamedTuple):
    """What a cell's job asks a cluster for."""

    memory_mb: int
    minutes: int

    def after(self, attempt: int) -> "Request":
        """The request of an attempt, 1 being the first: each asks for twice as much as the one before."""
        return Request(self.memory_mb << attempt - 1, self.minutes << attempt - 1)


def request(cell: PlannedCell, gpu: bool) -> Request:
    """What the first attempt at a cell asks for: the estimate, and room beside it.

    Memory has room for Python, its libraries and a job's own Snakemake; the time is four times the estimate and ten
    minutes. Beside a GPU a cell needs room for CUDA's libraries, and for its checkpoint, half of what it holds
    on the device.
    """
    cost = cell.cost
    if gpu and cost.gpu_seconds:
        memory = 4000 + int((cost.memory_bytes + cost.gpu_memory_bytes / 2) / 1e6)
        return Request(memory, 10 + int(cost.gpu_seconds / SECONDS_A_MINUTE))
    return Request(1000 + int(cost.memory_bytes / 1e6), 10 + int(cost.seconds / SECONDS_A_MINUTE))


def largest_request(cells: Iterable[PlannedCell], gpu: bool) -> Request:
    """The most of each that any of the cells asks for; nothing where there is no cell."""
    asked = [request(cell, gpu) for cell in cells]
    return Request(*map(max, zip(*asked, strict=True))) if asked else Request(0, 0)


def source_folders(plan: Plan) -> list[Path]:
    """Where copies of published tables are looked for: the user's folder, then that of `muster fetch`."""
    own = source_folder(plan.config.sources)
    return [*([own] if own else []), shared_folder(plan.config.results) / "sources"]


def code_of(cell: PlannedCell) -> str:
    """The fingerprint of the code that decides a cell's result."""
    return cell_fingerprint(cell.experiment, cell.cell, cell.dtype)


def deleted_cells(plan: Plan) -> frozenset[str]:
    """Keys of cells that were finished in these results and are gone. Once jobs run this cannot be told: Snakemake
    takes a job's outputs away before it starts.
    """
    results = Path(plan.config.results)
    made = (key for key in plan.cells if made_before(results, key))
    return frozenset(key for key in made if not (results / "runs" / key / "runs.parquet").exists())


def forced_cells(plan: Plan, names: Set[str], due: Set[str]) -> frozenset[str]:
    """Keys of cells that the command line forces.

    names: rules and outputs that it names; `*` stands for all. due: outputs that this run will make.
    """
    paths = {key: f"{plan.config.results}/runs/{key}/runs.parquet" for key in plan.cells}
    wanted = ((key, {"*", rule_of(cell), paths[key]}) for key, cell in plan.cells.items() if paths[key] in due)
    return frozenset(key for key, called in wanted if not called.isdisjoint(names))


def planned_from(plan: Plan) -> frozenset[str]:
    """What a run plans from, in words: every study's stamp, and the code of every cell."""
    studies = {f"{study}:{planned.stamp}" for study, planned in plan.studies.items()}
    return frozenset(studies | {f"code:{code_of(cell)}" for cell in plan.cells.values()})


def as_planned(kind: str, found: str, planned: Set[str]) -> str:
    """What a plan found; in a job whose submitter planned from something else, a word that equals no plan's finding."""
    return found if not planned or f"{kind}:{found}" in planned else "edited"
