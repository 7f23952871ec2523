# What the cohort came to.


rule status:
    input:
        summarised_files(),
    output:
        str(RESULTS.ledger),
    log:
        f"{LOGS}/status.log",
    benchmark:
        f"{BENCHMARKS}/status.tsv"
    # Reading some tables takes less than waiting for a turn on a cluster.
    localrule: True
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
    shell:
        "cohortpose status --config {params.config:q} --write > {log:q} 2>&1"


rule report:
    input:
        summarised_files(),
    output:
        report(str(RESULTS.report), caption="../report/report.rst", category="Cohort"),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(
            versions.REPORT, SETTINGS.report, SETTINGS.evaluation, SETTINGS.skeleton
        ),
    shell:
        "cohortpose report --config {params.config:q} 2>&1 | tee {log:q}"


rule accept:
    input:
        str(RESULTS.ledger),
        str(RESULTS.report),
    output:
        touch(str(RESULTS.accepted)),
    log:
        f"{LOGS}/accept.log",
    benchmark:
        f"{BENCHMARKS}/accept.tsv"
    # Apart from `status` and last: what a failing job wrote is removed, and the ledger must stay.
    # Here, not on a cluster: its lines are what a run ends with. Only the verdict goes to the log,
    # which Snakemake shows when a job fails: nothing is said twice.
    localrule: True
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(str(SETTINGS.inference.max_failed_fraction)),
    shell:
        "cohortpose status --config {params.config:q} --check 2> {log:q}"
