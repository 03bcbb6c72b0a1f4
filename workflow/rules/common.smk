"""What all rules share: the validated plan, and what rules ask of it with their wildcards.

Needs config/config.yaml and the studies beside it: those of the working directory, else those of this repository. Makes
nothing. A mistake in them ends the run here, with one line and before any job. Paths, requests and patterns are reckoned
in `muster.jobs.plan_rules`; here they meet Snakemake.
"""

import gc
import os
import shutil
import signal
import sys
import threading
from functools import cache
from pathlib import Path
from shlex import quote

from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from muster.system import UNSUPPORTED

if UNSUPPORTED:
    sys.exit(UNSUPPORTED)

from muster.jobs import plan_rules, planned, warm
from muster.jobs.availability import planned_source_state, planned_state
from muster.cli.check import plan_from
from muster.config.load import read_yaml, study_paths
from muster.jobs.fingerprint import dataset_fingerprint, stage_fingerprint
from muster.digests import canonical, digest
from muster.plan.cells import PlannedCell, dataset_of
from muster.plan.plan import Plan
from muster.plan.study import fitted_settings, ledger_settings, specified
from muster.jobs.plan_rules import find_cell, find_figure, one_of, rule_function, source_folders
from muster.jobs.store import store_folder
from muster.tables.missing import describe_missing

# A plan of many cells makes millions of objects and hardly any garbage: looking for it takes a tenth of a large dry run.
gc.set_threshold(500_000, 100, 100)

# Rules call `muster` of this very Python, whether or not its environment is activated. With `--sdm conda` they call that
# of an environment which Snakemake makes from the locks of this checkout.
ENVIRONMENT = "../envs/muster.yaml"
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    MUSTER_CHECKOUT=str(Path(workflow.snakefile).parents[2]),
)


def share_this_folder() -> None:
    """Make every executor take it that jobs see this folder: they read and write more files in it than rules name.

    Kubernetes's plugin takes it that pods share nothing, and would copy the named files through a storage provider. It
    lets no option contradict it, `shared-fs-usage` least of all, so its own settings are changed.
    """
    for plugin in ExecutorPluginRegistry().plugins.values():
        if plugin.common_settings.implies_no_shared_fs:
            plugin.common_settings.implies_no_shared_fs = False
            plugin.common_settings.job_deploy_sources = False


@rule_function
def config_file(beside: Path) -> str:
    """config/config.yaml of the working directory, else the one beside the workflow; read once to place its mistakes."""
    path = Path("config/config.yaml")
    path = path if path.exists() else beside
    read_yaml(path)
    return str(path)


@rule_function
def read_plan(settings: dict) -> Plan:
    """The plan of the configuration, with frozen tables at hand if it is to be replayed."""
    plan = plan_from(settings, Path(CONFIG_FILE))
    plan.check_replay()
    if planned.VARIABLE not in os.environ:
        report_left_out(plan)
    return plan


def report_left_out(plan: Plan) -> None:
    """Say which studies, or files beside them, this run does without, and why."""
    for error in plan.left_out.values():
        print(f"muster: left out: {error}", file=sys.stderr)


@rule_function
def submitted() -> frozenset[str]:
    """What the run that started this job planned from; empty where this is the run itself."""
    told = planned.read_planned()
    return told.found if told else frozenset()


def asked_by_force() -> set[str]:
    """What the command line forces: names of rules and of outputs; `*` for all."""
    settings = workflow.dag_settings
    return {*settings.forcerun, *(settings.targets if settings.forcetargets else ()), *["*"] * settings.forceall}


@rule_function
def tell_jobs() -> None:
    """Before the first job starts: tell all of them what they may not take over, and other machines what was planned.

    A cell that is forced begins anew: its checkpoints go away here, so that a job of this run that is killed may go on
    from its own.
    """
    if not TELLS:
        return
    due = {str(file) for job in workflow.dag.needrun_jobs() for file in job.output}
    forced = plan_rules.forced_cells(PLAN, asked_by_force(), due)
    for key in forced:
        shutil.rmtree(Path(RESULTS, "checkpoints", key), ignore_errors=True)
    found = frozenset() if workflow.local_exec else plan_rules.planned_from(PLAN)
    planned.write_planned(found, DELETED | forced)


def run_here() -> None:
    """Prepare for jobs on this machine: they are forked from a process that is warm, unless another Python is to run them.

    Whatever ends a run ends it as SIGTERM does: no job starts any more, those at work finish, the folder is unlocked. Upon
    Ctrl-C alone Snakemake would wait for them and then forget what they have made; a second one is left to it.

    Each finished job starts one more endless chain of the rate limiter's timers, and each tick reconsiders all ready
    jobs: after 250 jobs that takes a fifth of a core. No option switches it off, and only clusters need the limit.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_gracefully)
    workflow.scheduler.job_rate_limiter = None
    if not workflow.deployment_settings.deployment_method:
        SERVERS.append(warm.start(len(workflow.dag)))


def end_gracefully(number, frame) -> None:
    """In a thread, for Snakemake then takes a lock that the interrupted code may hold."""
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=workflow.scheduler.exit_gracefully).start()


def join_outer_handlers() -> None:
    """Where this is a module of another workflow, of which Snakemake runs the handlers alone, run ours with them.

    Those that the other workflow states after the module replace both: `--planned` is then refused by every job.
    """
    if workflow.modifier.is_main_snakefile():
        return
    for name in ("onstart", "onsuccess", "onerror"):
        theirs, ours = getattr(workflow, f"_{name}"), workflow.globals[name]
        setattr(workflow, f"_{name}", lambda log, theirs=theirs, ours=ours: (theirs(log), ours()))


share_this_folder()
SERVERS = []  # held until Snakemake ends
CONFIG_FILE = config_file(Path(workflow.snakefile).parents[2] / "config/config.yaml")


@rule_function
def study_cells(wildcards) -> list[str]:
    return plan_rules.run_paths(PLAN, [wildcards.study])


@rule_function
def study_digest(wildcards) -> str:
    return PLAN.studies[wildcards.study].digest


@rule_function
def study_stamp(wildcards) -> str:
    """What a job must still find in the study's file. A resource and no parameter: it is no reason to run anything."""
    return plan_rules.as_planned(wildcards.study, PLAN.studies[wildcards.study].stamp, SUBMITTED)


@rule_function
def fit_settings(wildcards) -> str:
    return in_page(canonical(fitted_settings(PLAN.studies[wildcards.study].study)))


@rule_function
def specified_fits(wildcards) -> str:
    study = PLAN.studies[wildcards.study].study
    return canonical({name: study.fits[name].model_dump(mode="json") for name in specified(study)})


def figure_of(wildcards):
    return find_figure(PLAN, wildcards.study, wildcards.figure)


@rule_function
def figure_settings(wildcards) -> str:
    """What a figure shows apart from its tables: its section, and the claims whose predictions are drawn."""
    study = PLAN.studies[wildcards.study].study.model_dump(mode="json", include={"title", "claims"})
    return in_page(canonical({"figure": figure_of(wildcards).model_dump(mode="json"), **study}))


def in_page(settings: str) -> str:
    """The same JSON without `<`: Snakemake's report writes parameters into a script, which `</script>` would end."""
    return settings.replace("<", r"\u003c")


@rule_function
def figure_labels(wildcards) -> dict[str, str]:
    return {"figure": wildcards.figure, "plot": figure_of(wildcards).plot.replace("_", " ")}


@rule_function
def figure_ledger(wildcards) -> list[str]:
    return list(rules.judge.output) if plan_rules.shows_verdicts(figure_of(wildcards)) else []


@rule_function
def figure_specification(wildcards) -> list[str]:
    shown = plan_rules.shows_specification(figure_of(wildcards))
    return [f"{RESULTS}/fits/{wildcards.study}/specification.parquet"] if shown else []


def cell_of(wildcards) -> PlannedCell:
    return find_cell(PLAN, f"{wildcards.experiment}/{wildcards.cell}")


@rule_function
def cell_json(wildcards) -> str:
    return cell_of(wildcards).text


@rule_function
def cell_data(wildcards) -> list[str]:
    dataset = dataset_of(cell_of(wildcards))
    return [f"{RESULTS}/data/{dataset.key}/manifest.json"] if dataset else []


@rule_function
def cell_code(wildcards) -> str:
    return plan_rules.as_planned("code", plan_rules.code_of(cell_of(wildcards)), SUBMITTED)


@rule_function
def fit_code(wildcards) -> str:
    return stage_fingerprint("fit", PLAN.studies[wildcards.study].study)


def stage_code(stage: str):
    """The fingerprint of a stage that is the same for all studies: read only where a job of the stage is planned."""

    @rule_function
    def code(wildcards) -> str:
        return stage_fingerprint(stage)

    return code


@rule_function
def study_texts(wildcards) -> str:
    """What the ledger's page shows of the studies' files."""
    paths = study_paths(Path(CONFIG_FILE))
    return digest({name: paths[name].read_text(encoding="utf-8") for name in PLAN.known if name in paths})


@rule_function
def page_template(wildcards) -> str:
    from muster.claims.html import template_digest

    return template_digest()


@rule_function
def plot_code(wildcards) -> str:
    return stage_fingerprint("plot", PLAN.studies[wildcards.study].study)


@cache
def request_of(key: str) -> plan_rules.Request:
    """What a cell's job asks for: Slurm's plugin asks for all tasks of an array what it asks for the first."""
    cell = find_cell(PLAN, key)
    if getattr(workflow.executor_settings, "array_jobs", None) and cell.stage == "train":
        return request_of_rule(plan_rules.rule_of(cell))
    return plan_rules.request(cell, bool(GPU))


@cache
def request_of_rule(name: str) -> plan_rules.Request:
    return plan_rules.largest_request(CELLS.get(name, ()), bool(GPU))


@rule_function
def cell_memory(wildcards, attempt) -> int:
    return request_of(f"{wildcards.experiment}/{wildcards.cell}").after(attempt).memory_mb


@rule_function
def cell_minutes(wildcards, attempt) -> int:
    return request_of(f"{wildcards.experiment}/{wildcards.cell}").after(attempt).minutes


# With `--jobs`, as profiles of clusters say, each job asks for what it needs, and for more after a failure. Here, where
# that starts no job earlier, one number a rule: Snakemake takes longer over such a function than over the rest of a job.
BY_CELL = workflow.resource_settings.nodes is not None


def memory(rule: str):
    """`mem_mb` of the rule's jobs."""
    return cell_memory if BY_CELL else request_of_rule(rule).memory_mb


def minutes(rule: str):
    """`runtime` of the rule's jobs."""
    return cell_minutes if BY_CELL else request_of_rule(rule).minutes


@rule_function
def source_state(wildcards) -> str:
    """What lies on disk of the table that a cell imports: a copy that appears, or changes, is imported anew."""
    return planned_source_state(cell_of(wildcards), Path(RESULTS), source_folders(PLAN))


@rule_function
def dataset_name(wildcards) -> str:
    return PLAN.datasets[wildcards.dataset].name


@rule_function
def dataset_options(wildcards) -> str:
    return PLAN.datasets[wildcards.dataset].options


@rule_function
def dataset_code(wildcards) -> str:
    return dataset_fingerprint(PLAN.datasets[wildcards.dataset].name)


@rule_function
def dataset_state(wildcards) -> str:
    return planned_state(PLAN.datasets[wildcards.dataset], Path(RESULTS), tuple(source_folders(PLAN)))
