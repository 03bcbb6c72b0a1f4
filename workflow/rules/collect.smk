"""Stage collect. Needs all cells of a study; makes its three tables, the frozen boundary that replaying starts from.

Of each cell only the run table is named as input: its curves and probes come from the same job.
"""


rule collect:
    input:
        runs=study_cells,
    output:
        runs=f"{RESULTS}/tables/{{study}}/runs.parquet",
        curves=f"{RESULTS}/tables/{{study}}/curves.parquet",
        probes=f"{RESULTS}/tables/{{study}}/probes.parquet",
    log:
        f"{RESULTS}/logs/collect/{{study}}.log",
    wildcard_constraints:
        study=one_of(PLAN.collected),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        planned=study_stamp,
    params:
        cells=study_digest,
        code=stage_code("collect"),
        options=OPTIONS,
    shell:
        "muster collect {wildcards.study} {params.options} --planned {resources.planned} > {log:q} 2>&1"
