"""The plan, and what follows from it for all rules.

Needs `config` as Snakemake has merged it, and the functions of common.smk. Makes nothing.
"""

PLAN = read_plan(config)
RESULTS = PLAN.config.results
config.update(results=RESULTS)  # the scale filled in: braces in a parameter would be wildcards
RESULTS_OPTION = f"--results {quote(RESULTS)}"
OPTIONS = plan_rules.options(PLAN, CONFIG_FILE)
GPU = int(PLAN.config.device == "cuda")
TIERS = plan_rules.train_tiers(PLAN)
DELETED = plan_rules.deleted_cells(PLAN)  # before any job runs

# A job on another machine plans anew; its environment tells it what this run plans from, and it refuses what was edited.
SUBMITTED = frozenset(os.environ.get(plan_rules.PLANNED, "").split())
if not SUBMITTED:
    os.environ[plan_rules.PLANNED] = plan_rules.planned_from(PLAN)

os.environ.update(MUSTER_STORE=str(store_folder(PLAN.config) or ""))
