"""muster: from studies to a ledger of verdicts.

Needs config/config.yaml, config/studies/*.yaml and the package muster in this Python. Makes everything below
`results/` (field `results` of the configuration). Targets: all (default), tables, fits, ledger, figures, report, and
track, which puts the results under DVC.
"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"


configfile: CONFIG_FILE


report: "workflow/report/workflow.rst"


SUBMITTED = submitted(config)
PLAN = read_plan(config)
os.environ.update(MUSTER_STORE=str(store_folder(PLAN.config) or ""))
RESULTS = PLAN.config.results
RESULTS_OPTION = f"--results {quote(RESULTS)}"
OPTIONS = options()
GPU = int(PLAN.config.device == "cuda")
DELETED = deleted_cells()  # before any job runs


wildcard_constraints:
    study=one_of(PLAN.studies),
    figure="[a-z0-9_]+",
    cell="[^/]+",


include: "workflow/rules/fit.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/report.smk"


if PLAN.config.mode == "full":

    include: "workflow/rules/data.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/sample.smk"
    include: "workflow/rules/command.smk"


if PLAN.collected:

    include: "workflow/rules/import.smk"
    include: "workflow/rules/collect.smk"


onstart:
    # Each finished job starts one more endless chain of the rate limiter's timers, and each tick reconsiders all ready
    # jobs: after 250 jobs that takes a fifth of a core. Only schedulers of clusters need the limit.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
        start_warm()
    else:
        instruct_jobs()


# Seconds of work that a cluster would take longer to start, and what may need the network of a login node.
localrules:
    all,
    tables,
    fits,
    ledger,
    figures,
    judge,
    plot,
    overview,
    report,
    track,


rule all:
    default_target: True
    input:
        lost_runs(),
        table_paths(),
        rules.judge.output,
        figure_paths(),


rule tables:
    input:
        lost_runs(),
        table_paths(),


rule fits:
    input:
        fit_paths(),


rule ledger:
    input:
        rules.judge.output,


rule figures:
    input:
        figure_paths(),


rule track:
    input:
        rules.all.input,
    log:
        f"{RESULTS}/logs/track.log",
    params:
        where=f"--config {quote(CONFIG_FILE)} {RESULTS_OPTION}",
    shell:
        "muster track {params.where} 2>&1 | tee {log:q}"


lighten_plan()
