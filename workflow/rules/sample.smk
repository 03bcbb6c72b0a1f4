"""Stage sample. Needs nothing but the cell; makes its tables, its settings and provenance. No training, no data set."""


rule sample:
    output:
        runs=f"{RESULTS}/runs/{{experiment}}/{{cell}}/runs.parquet",
        curves=f"{RESULTS}/runs/{{experiment}}/{{cell}}/curves.parquet",
        probes=f"{RESULTS}/runs/{{experiment}}/{{cell}}/probes.parquet",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{cell}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{experiment}}/{{cell}}.tsv"
    wildcard_constraints:
        experiment=one_of(PLAN.experiments("sample")),
    threads: 1
    resources:
        device=PLAN.config.device,
        mem_mb=cell_memory,
        runtime=cell_minutes,
    params:
        cell=cell_json,
        code=cell_code,
        where=RESULTS_OPTION,
    shell:
        "muster sample --cell {params.cell:q} --device {resources.device} {params.where} > {log:q} 2>&1"
