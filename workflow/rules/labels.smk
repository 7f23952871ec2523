# From labels to a network.


rule import_labels:
    input:
        key_file("import-labels"),
        lost_key("import-labels"),
    output:
        str(RESULTS.labels),
        chosen_settings(),
    log:
        f"{LOGS}/import-labels.log",
    benchmark:
        f"{BENCHMARKS}/import-labels.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("import-labels"),
        *list_corrected(),
        config=settings_file,
    shell:
        "cohortpose import-labels --config {params.config:q} 2>&1 | tee {log:q}"


rule make_targets:
    input:
        str(RESULTS.labels),
        chosen_settings(),
        key_file("make-targets"),
    output:
        directory(str(RESULTS.targets)),
    log:
        f"{LOGS}/make-targets.log",
    benchmark:
        f"{BENCHMARKS}/make-targets.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 4
    params:
        *list_settings("make-targets"),
        config=settings_file,
    shell:
        "cohortpose make-targets --config {params.config:q} 2>&1 | tee {log:q}"


rule make_clips:
    input:
        chosen_settings(),
        clip_tables(),
        key_file("make-clips"),
    output:
        directory(str(RESULTS.clips)),
    log:
        f"{LOGS}/make-clips.log",
    benchmark:
        f"{BENCHMARKS}/make-clips.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("make-clips"),
        config=settings_file,
    shell:
        "cohortpose make-clips --config {params.config:q} 2>&1 | tee {log:q}"


rule train:
    input:
        str(RESULTS.targets),
        clips(),
        chosen_settings(),
        key_file("train"),
    output:
        network=str(RESULTS.model(MODEL).network),
        weights=str(RESULTS.model(MODEL).weights),
        card=str(RESULTS.model(MODEL).card),
        history=reported(
            RESULTS.model(MODEL).history, "Network", "history", "learning curves"
        ),
    log:
        f"{LOGS}/train-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/train-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 64
    resources:
        **TASKS,
    params:
        *list_settings("train"),
        config=settings_file,
        launcher=launcher,
    shell:
        "{params.launcher}cohortpose train --config {params.config:q} 2>&1 | tee {log:q}"


# The networks of an ensemble beside the first: independent jobs.
rule train_member:
    input:
        str(RESULTS.targets),
        clips(),
        chosen_settings(),
        key_file("train-members"),
    output:
        network=str(RESULTS.model(MODEL).member("{member}").network),
        weights=str(RESULTS.model(MODEL).member("{member}").weights),
        card=str(RESULTS.model(MODEL).member("{member}").card),
        history=str(RESULTS.model(MODEL).member("{member}").history),
    log:
        f"{LOGS}/train-{MODEL}-member-{{member}}.log",
    benchmark:
        f"{BENCHMARKS}/train-{MODEL}-member-{{member}}.tsv"
    wildcard_constraints:
        member=r"\d+",
    conda:
        "../envs/cohortpose.yaml"
    threads: 64
    resources:
        **TASKS,
    params:
        *list_settings("train-members"),
        config=settings_file,
        launcher=launcher,
    shell:
        "{params.launcher}cohortpose train --member {wildcards.member} --config {params.config:q}"
        " 2>&1 | tee {log:q}"


rule make_locator_targets:
    input:
        str(RESULTS.labels),
        chosen_settings(),
        key_file("make-targets-locator"),
    output:
        directory(str(RESULTS.locator_targets)),
    log:
        f"{LOGS}/make-locator-targets.log",
    benchmark:
        f"{BENCHMARKS}/make-locator-targets.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 4
    params:
        *list_settings("make-targets-locator"),
        config=settings_file,
    shell:
        "cohortpose make-targets --locator --config {params.config:q} 2>&1 | tee {log:q}"


rule train_locator:
    input:
        str(RESULTS.locator_targets),
        chosen_settings(),
        key_file("train-locator"),
    output:
        network=str(RESULTS.model(MODEL).locator.network),
        weights=str(RESULTS.model(MODEL).locator.weights),
        card=str(RESULTS.model(MODEL).locator.card),
        history=str(RESULTS.model(MODEL).locator.history),
    log:
        f"{LOGS}/train-locator-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/train-locator-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 64
    resources:
        **TASKS,
    params:
        *list_settings("train-locator"),
        config=settings_file,
        launcher=launcher,
    shell:
        "{params.launcher}cohortpose train --locator --config {params.config:q} 2>&1 | tee {log:q}"


rule evaluate:
    input:
        str(RESULTS.labels),
        network_files(),
        key_file("evaluate"),
        lost_key("evaluate"),
    output:
        metrics=reported(
            RESULTS.metrics(MODEL), "Network", "metrics", "errors on labelled frames"
        ),
        predictions=str(RESULTS.predictions(MODEL)),
    log:
        f"{LOGS}/evaluate-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("evaluate"),
        config=settings_file,
    shell:
        "cohortpose evaluate --config {params.config:q} 2>&1 | tee {log:q}"
