# Only where the config does not state the precision.
rule choose_precision:
    input:
        measured_files(),
        network_files(),
        key_file("choose-precision"),
        lost_key("choose-precision"),
    output:
        str(RESULTS.model(MODEL).precision),
    log:
        f"{LOGS}/choose-precision-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/choose-precision-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    # The whole machine, so that nothing else disturbs the measurement.
    threads: 64
    params:
        *list_settings("choose-precision"),
        config=settings_file,
    shell:
        "cohortpose choose-precision --config {params.config:q} 2>&1 | tee {log:q}"
