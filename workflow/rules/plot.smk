"""Stage plot. Needs a study's tables and fits, or the ledger for the overview; makes each figure as SVG and PNG."""


rule plot:
    input:
        runs=f"{RESULTS}/tables/{{study}}/runs.parquet",
        curves=f"{RESULTS}/tables/{{study}}/curves.parquet",
        probes=f"{RESULTS}/tables/{{study}}/probes.parquet",
        fits=f"{RESULTS}/fits/{{study}}/fits.parquet",
        optima=f"{RESULTS}/fits/{{study}}/optima.parquet",
        predictions=f"{RESULTS}/fits/{{study}}/predictions.parquet",
        ledger=figure_ledger,
        specification=figure_specification,
    output:
        svg=report(
            f"{RESULTS}/figures/{{study}}/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Studies",
            subcategory="{study}",
            labels=figure_labels,
        ),
        png=f"{RESULTS}/figures/{{study}}/{{figure}}.png",
    log:
        f"{RESULTS}/logs/plot/{{study}}/{{figure}}.log",
    conda:
        ENVIRONMENT
    resources:
        planned=study_stamp,
    params:
        figure=figure_settings,
        code=plot_code,
        options=OPTIONS,
    shell:
        "muster plot {wildcards.study} {wildcards.figure} {params.options} --planned {resources.planned} > {log:q} 2>&1"


rule overview:
    input:
        ledger=rules.judge.output.csv,
    output:
        svg=report(
            f"{RESULTS}/figures/overview/forest.svg",
            caption="../report/forest.rst",
            category="Ledger",
            labels={"figure": "all claims"},
        ),
        png=f"{RESULTS}/figures/overview/forest.png",
    log:
        f"{RESULTS}/logs/plot/overview.log",
    conda:
        ENVIRONMENT
    params:
        code=stage_code("plot"),
        options=OPTIONS,
    shell:
        "muster plot overview forest {params.options} > {log:q} 2>&1"
