"""Stage fit. Needs a study's tables; makes its fits with intervals, its optima where rates were
swept, what they predict for runs that were held out, and the conditions under which its claims are fairly tested.

A study that shows an exponent under every reasonable choice of estimator has these fitted by a job of their own: no
verdict waits for them.
"""


rule fit:
    input:
        runs=f"{RESULTS}/tables/{{study}}/runs.parquet",
        curves=f"{RESULTS}/tables/{{study}}/curves.parquet",
        probes=f"{RESULTS}/tables/{{study}}/probes.parquet",
    output:
        fits=f"{RESULTS}/fits/{{study}}/fits.parquet",
        optima=f"{RESULTS}/fits/{{study}}/optima.parquet",
        regime=f"{RESULTS}/fits/{{study}}/regime.parquet",
        predictions=f"{RESULTS}/fits/{{study}}/predictions.parquet",
        stamp=f"{RESULTS}/fits/{{study}}/fits.json",
    log:
        f"{RESULTS}/logs/fit/{{study}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit/{{study}}.tsv"
    wildcard_constraints:
        study=one_of(FITTED),
    conda:
        ENVIRONMENT
    resources:
        planned=study_stamp,
    params:
        fits=fit_settings,
        code=fit_code,
        options=OPTIONS,
    shell:
        "muster fit {wildcards.study} {params.options} --planned {resources.planned} > {log:q} 2>&1"


rule specification:
    input:
        runs=f"{RESULTS}/tables/{{study}}/runs.parquet",
        curves=f"{RESULTS}/tables/{{study}}/curves.parquet",
        probes=f"{RESULTS}/tables/{{study}}/probes.parquet",
        fits=rules.fit.output.fits,
    output:
        f"{RESULTS}/fits/{{study}}/specification.parquet",
    log:
        f"{RESULTS}/logs/specification/{{study}}.log",
    wildcard_constraints:
        study=one_of(FITTED),
    conda:
        ENVIRONMENT
    resources:
        planned=study_stamp,
    params:
        fits=specified_fits,
        code=fit_code,
        options=OPTIONS,
    shell:
        "muster specify {wildcards.study} {params.options} --planned {resources.planned} > {log:q} 2>&1"
