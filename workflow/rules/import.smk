"""Stage import. Needs the cell, and a copy of its published table or the network; makes its tables and provenance.

A table that is neither on disk nor reachable leaves an empty cell with the reason: its claims are `not run`, nothing
else stops. The state of the copy on disk is a parameter, so that one that appears later is imported by the next run.
"""


rule import:
    output:
        runs=f"{RESULTS}/runs/{{experiment}}/{{cell}}/runs.parquet",
    log:
        f"{RESULTS}/logs/{{experiment}}/{{cell}}.log",
    wildcard_constraints:
        experiment=one_of(PLAN.experiments("import")),
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        sources=str(source_folders(PLAN)[0]),
        mem_mb=memory("import"),
        runtime=minutes("import"),
    params:
        cell=cell_json,
        code=cell_code,
        state=source_state,
    shell:
        f"muster import --cell {{params.cell:q}} --planned {{params.code}} --sources {{resources.sources:q}} {RESULTS_OPTION} > {{log:q}} 2>&1"
