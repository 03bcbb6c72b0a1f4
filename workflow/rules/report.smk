"""Stage report. Needs all figures and the ledger; makes one HTML page of them, with captions and run times."""


rule report:
    input:
        rules.judge.output,
        plan_rules.figure_paths(PLAN),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    params:
        settings=canonical(config),
    shell:
        "muster report --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"
