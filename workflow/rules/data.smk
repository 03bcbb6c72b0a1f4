"""Stage data. Needs a data set's name and options from the plan; makes its arrays and its manifest, once for all cells."""


rule data:
    output:
        arrays=f"{RESULTS}/data/{{dataset}}/data.npz",
        manifest=f"{RESULTS}/data/{{dataset}}/manifest.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(PLAN.datasets),
    localrule: True
    params:
        name=dataset_name,
        options=dataset_options,
        code=dataset_code,
        where=RESULTS_OPTION,
    shell:
        "muster data {params.name:q} --options {params.options:q} {params.where} > {log:q} 2>&1"
