"""Stage data. Needs a data set's name and options from the plan; makes its arrays and its manifest, once for all cells.

One that is neither on this machine nor within its reach leaves a manifest with the reason: cells that need it are empty,
their claims `not run`, nothing else stops. What lies on disk of its origin is a parameter, so that one that appears later
is made by the next run; one that was made outlives its origin.
"""


rule data:
    output:
        arrays=f"{RESULTS}/data/{{dataset}}/data.npz",
        manifest=f"{RESULTS}/data/{{dataset}}/manifest.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(PLAN.datasets),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        sources=str(source_folders(PLAN)[0]),
    params:
        name=dataset_name,
        options=dataset_options,
        code=dataset_code,
        state=dataset_state,
        where=RESULTS_OPTION,
    shell:
        "muster data {params.name:q} --options {params.options:q} --state {params.state:q} "
        "--sources {resources.sources:q} {params.where} > {log:q} 2>&1"
