# What the cohort came to.


rule status:
    input:
        summarised_files(),
        key_file("status"),
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
        *list_settings("status"),
        config=settings_file,
    shell:
        "cohortpose status --config {params.config:q} --write > {log:q} 2>&1"


rule report:
    input:
        summarised_files(),
        key_file("report"),
        lost_key("report"),
    output:
        report(str(RESULTS.report), caption="../report/report.rst", category="Cohort"),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("report"),
        config=settings_file,
    shell:
        "cohortpose report --config {params.config:q} 2>&1 | tee {log:q}"


rule accept:
    input:
        str(RESULTS.ledger),
        str(RESULTS.report),
        key_file("accept"),
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
        *list_settings("accept"),
        config=settings_file,
    shell:
        "cohortpose status --config {params.config:q} --check 2> {log:q}"
