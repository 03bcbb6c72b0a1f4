"""Stage report. Needs the ledger for its page, and all figures for Snakemake's report, with captions and run times."""


rule page:
    input:
        ledger=rules.judge.output.csv,
    output:
        f"{RESULTS}/ledger/index.html",
    log:
        f"{RESULTS}/logs/page.log",
    conda:
        ENVIRONMENT
    params:
        studies=study_texts,
        template=page_template,
        code=stage_code("page"),
        options=f"--config {quote(CONFIG_FILE)} {RESULTS_OPTION}",
    shell:
        "muster page {params.options} > {log:q} 2>&1"


rule report:
    input:
        rules.judge.output,
        rules.page.output,
        plan_rules.figure_paths(PLAN),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        ENVIRONMENT
    params:
        settings=canonical(config),
    shell:
        "muster report --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"
