"""The plan, and what follows from it for all rules.

Needs `config` as Snakemake has merged it, and the functions of common.smk. Makes nothing.
"""

PLAN = read_plan(config)
RESULTS = PLAN.config.results
config.update(results=RESULTS)  # the scale filled in: braces in a parameter would be wildcards
RESULTS_OPTION = f"--results {quote(RESULTS)}"
OPTIONS = plan_rules.options(PLAN, CONFIG_FILE)
GPU = int(PLAN.config.device == "cuda")
CELLS = plan_rules.cells_by_rule(PLAN)
TIERS = {name: cells for name, cells in CELLS.items() if cells[0].stage == "train"}
FITTED = [study for study in PLAN.studies if study not in PLAN.fits_at_hand]
DELETED = plan_rules.deleted_cells(PLAN)  # before any job runs

# A job on another machine plans anew; a file tells it what this run plans from, and it refuses what was edited.
SUBMITTED = submitted()
TELLS = planned.name_planned(Path(RESULTS))

os.environ.update(MUSTER_STORE=str(store_folder(PLAN.config) or ""))
