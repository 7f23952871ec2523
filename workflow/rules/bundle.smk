# A network that was trained elsewhere, instead of labels.

IMPORTED = [
    files
    for files in (RESULTS.model(MODEL), RESULTS.model(MODEL).locator)
    if files == RESULTS.model(MODEL) or SETTINGS.uses_locator
]


rule import_model:
    input:
        key_file("import-model"),
        lost_key("import-model"),
    output:
        [
            str(path)
            for files in IMPORTED
            for path in (files.network, files.weights, files.card, files.history)
        ],
    log:
        f"{LOGS}/import-model-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/import-model-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("import-model"),
        config=settings_file,
    shell:
        "cohortpose import-model --config {params.config:q} 2>&1 | tee {log:q}"
