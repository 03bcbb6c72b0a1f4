"""Stage judge. Needs the fits of all planned studies; makes the ledger, the table of all claims with their verdicts.

A study of this run that is edited while it runs is refused; another one's new words show, and the next run judges anew.
"""


rule judge:
    input:
        fits=plan_rules.fit_paths(PLAN),
    output:
        csv=report(
            f"{RESULTS}/ledger/claims.csv",
            caption="../report/ledger.rst",
            category="Ledger",
            labels={"table": "claims"},
        ),
        json=f"{RESULTS}/ledger/claims.json",
        metrics=f"{RESULTS}/ledger/metrics.json",
        markdown=f"{RESULTS}/ledger/LEDGER.md",
        sums=f"{RESULTS}/ledger/SHA256SUMS",
    log:
        f"{RESULTS}/logs/judge.log",
    conda:
        ENVIRONMENT
    resources:
        planned=digest(ledger_settings({study: PLAN.known[study] for study in PLAN.studies})),
    params:
        claims={study: in_page(text) for study, text in ledger_settings(PLAN.known).items()},
        studies=list(PLAN.studies),
        code=stage_code("judge"),
        options=OPTIONS,
    shell:
        "muster judge {params.options} --planned {resources.planned} --studies {params.studies:q} > {log:q} 2>&1"
