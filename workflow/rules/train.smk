"""Stage train. Needs the cell's data set; makes its tables of runs, curves and probes, its settings and provenance.

One job a cell: all its members train side by side on one thread, so that as many jobs run as there are cores. The input
is the manifest of the data set: it holds the hashes of the arrays, and is small enough for Snakemake to compare by
content, so that a newer copy of the same data trains nothing. Checkpoints lie outside the outputs, in
results/checkpoints, and survive a failed job.

Wide cells have rules of their own, `train_w512` to `train_w16384`, because Slurm's plugin submits a rule's jobs as one
array with one request for all of its tasks.

The run table is written last and stands for the folder: five named outputs would make a dry run of 10,000 cells half as
long again. Wall time and peak memory stand in the cell's provenance.json, which costs the plan nothing, where a file
named by `benchmark:` would.
"""

for tier_name in TIERS:

    rule:
        name:
            tier_name
        input:
            data=cell_data,
        output:
            runs=f"{RESULTS}/runs/{{experiment}}/{{cell}}/runs.parquet",
        log:
            f"{RESULTS}/logs/{{experiment}}/{{cell}}.log",
        wildcard_constraints:
            experiment=one_of(PLAN.experiments("train")),
            cell=plan_rules.width_pattern(TIERS[tier_name]),
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            device=PLAN.config.device,
            gpu=GPU,
            mem_mb=memory(tier_name),
            runtime=minutes(tier_name),
        params:
            cell=cell_json,
            code=cell_code,
        shell:
            f"muster train --cell {{params.cell:q}} --planned {{params.code}} --device {{resources.device}} {RESULTS_OPTION} > {{log:q}} 2>&1"
