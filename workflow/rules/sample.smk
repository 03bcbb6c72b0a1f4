"""Stage sample. Needs nothing but the cell; makes its tables, its settings and provenance. No training, no data set.

The run table is written last and stands for the folder, as in the stage train.
"""


rule sample:
    output:
        runs=f"{RESULTS}/runs/{{experiment}}/{{cell}}/runs.parquet",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{cell}}.log",
    wildcard_constraints:
        experiment=one_of(PLAN.experiments("sample")),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        device=PLAN.config.device,
        mem_mb=memory("sample"),
        runtime=minutes("sample"),
    params:
        cell=cell_json,
        code=cell_code,
    shell:
        f"muster sample --cell {{params.cell:q}} --planned {{params.code}} --device {{resources.device}} {RESULTS_OPTION} > {{log:q}} 2>&1"
