"""Stage fit. Needs a study's tables; makes its fits with intervals and, where rates were swept, its optima."""


rule fit:
    input:
        runs=f"{RESULTS}/tables/{{study}}/runs.parquet",
        curves=f"{RESULTS}/tables/{{study}}/curves.parquet",
        probes=f"{RESULTS}/tables/{{study}}/probes.parquet",
    output:
        fits=f"{RESULTS}/fits/{{study}}/fits.parquet",
        optima=f"{RESULTS}/fits/{{study}}/optima.parquet",
        stamp=f"{RESULTS}/fits/{{study}}/fits.json",
    log:
        f"{RESULTS}/logs/fit/{{study}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit/{{study}}.tsv"
    params:
        fits=fit_settings,
        code=stage_fingerprint("fit"),
        options=OPTIONS,
    shell:
        "muster fit {wildcards.study} {params.options} > {log:q} 2>&1"
