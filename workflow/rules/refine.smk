# From poses to the frames that are worth labelling next.


rule refine:
    input:
        str(RESULTS.labels),
        # Candidates are seen through the network; labels are compared with its predictions.
        str(RESULTS.model(MODEL).card),
        str(RESULTS.predictions(MODEL)),
        [
            path
            for stage in STAGES["refine"].reads(SETTINGS)
            for path in judged_tables(stage)
        ],
        key_file("refine"),
        lost_key("refine"),
    output:
        reported(
            RESULTS.refined_table(MODEL),
            "Labels",
            "refinement",
            "frames to label next",
        ),
        reported(
            RESULTS.label_errors(MODEL), "Labels", "label-errors", "doubtful labels"
        ),
    log:
        f"{LOGS}/refine-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/refine-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 8
    params:
        *list_settings("refine"),
        config=settings_file,
    shell:
        "cohortpose refine --config {params.config:q} --cores {threads} 2>&1 | tee {log:q}"
