"""Stage command. Needs nothing but the cell and the script that it calls; makes its tables, settings and provenance.

One job a cell: the script runs once per learning rate, one run after another. Finished runs lie outside the outputs, in
results/checkpoints, and survive a failed job. A script that wants more than one thread or 2.5 GB is given them with
`--set-threads command=8 --set-resources command:mem_mb=16000`.

The run table is written last and stands for the folder, as in the stage train.
"""


rule command:
    output:
        runs=f"{RESULTS}/runs/{{experiment}}/{{cell}}/runs.parquet",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{cell}}.log",
    wildcard_constraints:
        experiment=one_of(PLAN.experiments("command")),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        device=PLAN.config.device,
        gpu=GPU,
        mem_mb=memory("command"),
        runtime=minutes("command"),
    params:
        cell=cell_json,
        code=cell_code,
    shell:
        f"muster command --cell {{params.cell:q}} --planned {{params.code}} --device {{resources.device}} {RESULTS_OPTION} > {{log:q}} 2>&1"
