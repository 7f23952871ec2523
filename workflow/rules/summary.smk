# Decisions about videos, ledger, report and verdict of the cohort.


rule judge:
    input:
        shard_tables(*(STAGES[name] for name in STAGES["judge"].reads(SETTINGS))),
        key_file("judge"),
        lost_key("judge"),
    output:
        [str(file.path) for file in STAGES["judge"].files(SETTINGS, RESULTS)],
    log:
        f"{LOGS}/judge.log",
    benchmark:
        f"{BENCHMARKS}/judge.tsv"
    # Records of a few kilobytes for each video are read.
    localrule: True
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("judge"),
        config=settings_file,
    shell:
        "cohortpose judge --config {params.config:q} 2>&1 | tee {log:q}"


rule status:
    input:
        summarised_files(),
        key_file("status"),
    output:
        [
            reported(file.path, "Cohort", file.kind, "how each of them ended")
            for file in STAGES["status"].files(SETTINGS, RESULTS)
        ],
    log:
        f"{LOGS}/status.log",
    benchmark:
        f"{BENCHMARKS}/status.tsv"
    # Reading some tables takes less time than waiting for a job on a cluster.
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
        # The report shows the labels that `refine` lists as probably wrong.
        str(RESULTS.label_errors(MODEL)) if STAGES["refine"].wanted(SETTINGS) else [],
        key_file("report"),
        lost_key("report"),
    output:
        reported(RESULTS.report, "Cohort", "report", "the cohort on one page"),
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


rule multiqc:
    input:
        summarised_files(),
        # It leaves the summaries of the poses, which are not made twice.
        str(RESULTS.report),
        str(RESULTS.quality) if "judge" in wanted_names() else [],
        key_file("multiqc"),
    output:
        directory(str(RESULTS.multiqc)),
    log:
        f"{LOGS}/multiqc.log",
    benchmark:
        f"{BENCHMARKS}/multiqc.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("multiqc"),
        config=settings_file,
    shell:
        "cohortpose multiqc --config {params.config:q} 2>&1 | tee {log:q}"


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
    # Separate from `status`, because Snakemake removes the outputs of a failed job, and the ledger
    # must remain. Not on a cluster, because its lines are the last of a run. Only the verdict goes
    # to the log, which Snakemake shows when a job fails, so that no line appears twice.
    localrule: True
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("accept"),
        config=settings_file,
    shell:
        "cohortpose status --config {params.config:q} --check 2> {log:q}"
