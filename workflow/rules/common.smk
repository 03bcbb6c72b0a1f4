"""What all rules share: the validated plan, and the names of files that follow from it.

Needs config.yaml and the studies. Makes nothing. A mistake in them ends the run here, with one line and before any job.
"""

import gc
import os
import subprocess
import sys
import tempfile
from functools import cache
from inspect import isfunction, signature
from pathlib import Path
from shlex import quote

from snakemake.common import overwrite_function_params
from snakemake.dag import DAG
from snakemake.iocontainers import Log
from snakemake.jobs import Job
from snakemake.resources import Resource, Resources
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from muster.jobs import warm
from muster.config.load import read_yaml
from muster.errors import MusterError
from muster.published.source import source_folder, state
from muster.files import write_text
from muster.jobs.fingerprint import (
    cell_fingerprint,
    dataset_fingerprint,
    stage_fingerprint,
)
from muster.plan import (
    LEDGER_PLOTS,
    SPECIFICATION_PLOTS,
    Plan,
    PlannedCell,
    canonical,
    dataset_of,
    digest,
    ledger_settings,
    plan_from,
    specified,
)
from muster.jobs.store import store_folder

# A plan of many cells makes millions of objects and hardly any garbage: looking for it takes a tenth of a large dry run.
gc.set_threshold(500_000, 100, 100)

# Rules call `muster` of this very Python, whether or not its environment is activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))


def share_this_folder() -> list[str]:
    """Make every executor take it that jobs see this folder: they read and write more files in it than rules name.

    Kubernetes's plugin takes it that pods share nothing, and would copy the named files through a storage provider.
    Returns the names of such plugins, whose jobs start elsewhere.
    """
    elsewhere = [p for p in ExecutorPluginRegistry().plugins.values() if p.common_settings.implies_no_shared_fs]
    for plugin in elsewhere:
        plugin.common_settings.implies_no_shared_fs = False
        plugin.common_settings.job_deploy_sources = False
    return [plugin.name for plugin in elsewhere]


def stop(error: MusterError) -> None:
    """End Snakemake with the message alone: an exception would be shown with lines of the Snakefile."""
    sys.exit(f"muster: {error}")


def config_file() -> str:
    """config/config.yaml of the working directory, else the one beside the Snakefile; read once to place its mistakes."""
    path = Path("config/config.yaml")
    path = path if path.exists() else Path(workflow.basedir) / path
    try:
        read_yaml(path)
    except MusterError as error:
        stop(error)
    return str(path)


def read_plan(settings: dict) -> Plan:
    """The plan of the configuration, with frozen tables at hand if it is to be replayed."""
    try:
        plan = plan_from(settings, Path(CONFIG_FILE))
        plan.check_replay()
    except MusterError as error:
        stop(error)
    return plan


ELSEWHERE = share_this_folder()
CONFIG_FILE = config_file()
TABLES = ("runs", "curves", "probes")
WARM_JOBS = 12  # a job saves about two seconds, the server takes five to start


def options() -> str:
    """Options by which a rule's command repeats what the plan was made from."""
    chosen = PLAN.config
    seeds = f" --seeds {chosen.seeds}" if chosen.seeds else ""
    return f"--config {quote(CONFIG_FILE)} {RESULTS_OPTION} --scale {chosen.scale} --dtype {chosen.dtype}{seeds}"


def lost_runs() -> list[str]:
    """Cells that are not there though the tables made of them are: deleted, or failed on a rerun.

    Snakemake looks no further than a table that stands, so `all` names these. Naming all cells would lengthen a dry run.
    """
    if PLAN.config.mode == "replay":
        return []
    made = [plan for study, plan in PLAN.studies.items() if Path(RESULTS, "tables", study, "runs.parquet").exists()]
    runs = dict.fromkeys(f"{RESULTS}/runs/{cell.key}/runs.parquet" for plan in made for cell in plan.cells)
    return [path for path in runs if not os.path.exists(path)]


def table_paths() -> list[str]:
    return [f"{RESULTS}/tables/{study}/{table}.parquet" for study in PLAN.studies for table in TABLES]


def fit_paths() -> list[str]:
    return [f"{RESULTS}/fits/{study}/fits.parquet" for study in PLAN.studies]


def figure_paths() -> list[str]:
    figures = [f"{study}/{name}" for study, plan in PLAN.studies.items() for name in plan.study.figures]
    return [f"{RESULTS}/figures/{figure}.{kind}" for figure in ["overview/forest", *figures] for kind in ("svg", "png")]


def study_cells(wildcards) -> list[str]:
    return [f"{RESULTS}/runs/{cell.key}/runs.parquet" for cell in PLAN.studies[wildcards.study].cells]


def study_digest(wildcards) -> str:
    return PLAN.studies[wildcards.study].digest


def fit_settings(wildcards) -> str:
    return canonical(PLAN.studies[wildcards.study].study.model_dump(mode="json")["fits"])


def study_stamp(wildcards) -> str:
    """What a job must still find in the study's file. A resource and no parameter: it is no reason to run anything."""
    return as_submitted(wildcards.study, PLAN.studies[wildcards.study].stamp)


def specified_fits(wildcards) -> str:
    study = PLAN.studies[wildcards.study].study
    return canonical({name: study.fits[name].model_dump(mode="json") for name in specified(study)})


def planned_figure(wildcards):
    """The figure's section of the study; a name that the study does not have ends the run with one line."""
    study = PLAN.studies[wildcards.study].study
    if wildcards.figure not in study.figures:
        known = ", ".join(study.figures) or "none"
        stop(
            MusterError(
                f"{study.study}: figures.{wildcards.figure}",
                "no such figure",
                f"Figures of the study: {known}",
            )
        )
    return study.figures[wildcards.figure]


def figure_settings(wildcards) -> str:
    """What a figure shows apart from its tables: its section, and the claims whose predictions are drawn."""
    study = PLAN.studies[wildcards.study].study.model_dump(mode="json", include={"title", "claims"})
    return in_page(canonical({"figure": planned_figure(wildcards).model_dump(mode="json"), **study}))


def in_page(settings: str) -> str:
    """The same JSON without `<`: Snakemake's report writes parameters into a script, which `</script>` would end."""
    return settings.replace("<", r"\u003c")


def figure_plot(wildcards) -> str:
    return planned_figure(wildcards).plot.replace("_", " ")


def figure_ledger(wildcards) -> list[str]:
    return list(rules.judge.output) if planned_figure(wildcards).plot in LEDGER_PLOTS else []


def figure_specification(wildcards) -> list[str]:
    shown = planned_figure(wildcards).plot in SPECIFICATION_PLOTS
    return [f"{RESULTS}/fits/{wildcards.study}/specification.parquet"] if shown else []


def cell_of(wildcards) -> PlannedCell:
    """The planned cell that an output's folder names; a folder outside the plan ends the run with one line."""
    key = f"{wildcards.experiment}/{wildcards.cell}"
    if key not in PLAN.cells:
        stop(
            MusterError(
                f"{RESULTS}/runs/{key}",
                "no such cell in the plan",
                "List cells with: muster plan STUDY --cells",
            )
        )
    return PLAN.cells[key]


def cell_json(wildcards) -> str:
    return cell_of(wildcards).text


def cell_data(wildcards) -> list[str]:
    dataset = dataset_of(cell_of(wildcards))
    return [f"{RESULTS}/data/{dataset.key}/manifest.json"] if dataset else []


def cell_code(wildcards) -> str:
    return as_submitted("code", code_of(cell_of(wildcards)))


def code_of(planned: PlannedCell) -> str:
    return cell_fingerprint(planned.experiment, planned.cell)


def as_submitted(kind: str, found: str) -> str:
    """What this plan found, unless this is a job whose submitter planned from something else: then what none finds."""
    return found if not SUBMITTED or f"{kind} {found}" in SUBMITTED else "edited"


def tier(width: int) -> str:
    """Name of the rule that trains cells of this width; from 512 on one rule for each power of two."""
    return "train" if width < 512 else f"train_w{1 << width.bit_length() - 1}"


@cache
def train_tiers() -> dict[str, list[PlannedCell]]:
    """The cells of the stage train by rule."""
    found: dict[str, list[PlannedCell]] = {}
    for cell in PLAN.cells.values():
        if cell.stage == "train":
            found.setdefault(tier(cell.cell.width), []).append(cell)
    return found


def tier_cells(name: str) -> str:
    """The wildcard constraint that names the cells of a tier, by their widths."""
    widths = {str(cell.cell.width) for cell in train_tiers()[name]}
    return f"w({one_of(sorted(widths))})-[^/]+"


def needs(cell: PlannedCell) -> tuple[int, int]:
    """MB, with room for Python, its libraries and a job's own Snakemake, and minutes: four times the estimate and ten.

    Beside a GPU a cell needs room for CUDA's libraries, and for its checkpoint, half of what it holds on the device.
    """
    cost = cell.cost
    if GPU and cost.gpu_seconds:
        return 4000 + int((cost.memory_bytes + cost.gpu_memory_bytes / 2) / 1e6), 10 + int(cost.gpu_seconds / 15)
    return 1000 + int(cost.memory_bytes / 1e6), 10 + int(cost.seconds / 15)


@cache
def needs_of_tier(name: str) -> tuple[int, int]:
    """The most that any cell of a tier needs: Slurm's plugin asks for all tasks of an array what it asks for the first."""
    return tuple(map(max, zip(*map(needs, train_tiers()[name]))))


def granted(wildcards, attempt: int) -> tuple[int, int]:
    """MB and minutes of a cell's job, doubled with every attempt."""
    cell = cell_of(wildcards)
    arrays = getattr(workflow.executor_settings, "array_jobs", None) and cell.stage == "train"
    memory, minutes = needs_of_tier(tier(cell.cell.width)) if arrays else needs(cell)
    return memory << attempt - 1, minutes << attempt - 1


def cell_memory(wildcards, attempt) -> int:
    return granted(wildcards, attempt)[0]


def cell_minutes(wildcards, attempt) -> int:
    return granted(wildcards, attempt)[1]


def source_folders() -> list[Path]:
    """Where copies of published tables are looked for: the user's folder, then that of `muster fetch`."""
    own = source_folder(PLAN.config.sources)
    return [*([own] if own else []), Path(RESULTS, "sources")]


def source_state(wildcards) -> str:
    """What lies on disk of the table that a cell imports: a copy that appears, or changes, is imported anew."""
    return state(cell_of(wildcards).cell.table, source_folders())


def dataset_name(wildcards) -> str:
    return PLAN.datasets[wildcards.dataset].name


def dataset_options(wildcards) -> str:
    return PLAN.datasets[wildcards.dataset].options


def dataset_code(wildcards) -> str:
    return dataset_fingerprint(PLAN.datasets[wildcards.dataset].name)


def one_of(names) -> str:
    """A wildcard constraint that only these names satisfy; no name, no match."""
    return "|".join(names) or "(?!)"


def submitted(settings: dict) -> set[str]:
    """In a job on another machine, what the run that submitted it planned from; elsewhere nothing."""
    planned = settings.pop("planned", None)
    return set(Path(planned).read_text().splitlines()) if planned else set()


def instruct_jobs() -> None:
    """Tell jobs on other machines what only this process knows, by the command that starts them.

    They plan anew: a file says what this run was planned from, so that they refuse what was edited since. And pods start
    in a folder of their own, whatever is mounted.
    """
    planned = {f"{study} {plan.stamp}" for study, plan in PLAN.studies.items()}
    planned |= {f"code {code_of(cell)}" for cell in PLAN.cells.values()}
    path = Path(".snakemake/planned", digest(sorted(planned)))
    write_text(path, "\n".join(sorted(planned)) + "\n")
    settings = workflow.config_settings
    settings.config_args = [*(settings.config_args or []), f"planned={path}"]
    if workflow.executor_plugin.name in ELSEWHERE:
        remote = workflow.remote_execution_settings
        remote.precommand = " && ".join(filter(None, [f"cd {quote(os.getcwd())}", remote.precommand]))


async def nothing(*ignored) -> None:
    """What is awaited, and need not be done."""


def lighten_plan() -> None:
    """Spare a plan of many jobs what takes seconds of Snakemake's time and shows nothing.

    It reads the signature of each function anew for each job, unless it is told the parameters. A dry run computes each
    job's log, resources and parameters, counts the cores that it would take, asks for its software environment, looks
    for outputs in folders that are outputs and for temporary ones, of all of which there are none, and describes the
    job to all loggers; rich shows that with --verbose only.
    """
    functions = [Resource.evaluate]
    shown = workflow.output_settings
    silent = shown.dryrun and not shown.verbose and set(shown.log_handler_settings) == {"rich"}
    for declared in workflow.rules:
        functions += filter(isfunction, [*declared.input, *declared.params])
        functions += [value._evaluator for value in declared.resources.values() if value.is_evaluable()]
        if silent:
            declared._log = Log()
            declared.resources = Resources({name: declared.resources[name] for name in ("_cores", "_nodes")})
    for function in functions:
        overwrite_function_params(function, signature(function).parameters)
    if silent:
        gc.disable()  # it ends before there is anything to collect
        Job.log_info = lambda job, **options: None
        Job.conda_env_spec = None
        Job.scheduler_resources = {"_cores": 1, "_nodes": 1, "_job_count": 1}
        DAG.check_directory_outputs = lambda dag: None
        DAG.handle_temp = nothing


def start_warm() -> None:
    """Start the process that jobs are forked from, once there are so many that its own start pays.

    It ends when Snakemake does, however that happens, because it then loses its stdin.
    """
    if sys.platform != "linux" or len(workflow.dag) < WARM_JOBS:
        return
    socket = os.path.join(tempfile.mkdtemp(prefix="muster-"), "jobs")
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "muster.jobs.warm", socket]
    # Ctrl-C reaches Snakemake's whole group: the server must outlive the jobs that then end.
    workflow.warm_server = subprocess.Popen(
        command, stdin=subprocess.PIPE, env={**os.environ, **single}, start_new_session=True
    )
    os.environ[warm.VARIABLE] = socket
