# From labels to a network.


rule import_labels:
    input:
        [str(path) for path in label_inputs(SETTINGS)],
    output:
        str(RESULTS.labels),
    log:
        f"{LOGS}/import-labels.log",
    benchmark:
        f"{BENCHMARKS}/import-labels.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(
            versions.IMPORT_LABELS,
            SETTINGS.skeleton,
            SETTINGS.individuals,
            SETTINGS.assembly.graph if SETTINGS.uses_affinity else None,
            *SETTINGS.labels,
            SETTINGS.training.split,
            str(SETTINGS.training.validation_fraction),
        ),
    shell:
        "cohortpose import-labels --config {params.config:q} 2>&1 | tee {log:q}"


rule make_targets:
    input:
        str(RESULTS.labels),
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
        config=CONFIG,
        depends=depends_on(
            versions.MAKE_TARGETS,
            SETTINGS.what_targets_need(),
            SETTINGS.individuals,
            SETTINGS.assembly.graph if SETTINGS.uses_affinity else None,
            window_settings(),
        ),
    shell:
        "cohortpose make-targets --config {params.config:q} 2>&1 | tee {log:q}"


rule train:
    input:
        str(RESULTS.targets),
        pretrained_files(SETTINGS),
    output:
        network=str(RESULTS.model(MODEL).network),
        weights=str(RESULTS.model(MODEL).weights),
        card=str(RESULTS.model(MODEL).card),
        history=str(RESULTS.model(MODEL).history),
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
        config=CONFIG,
        depends=depends_on(
            versions.TRAIN,
            SETTINGS.what_training_needs(),
            {"symmetries": SETTINGS.skeleton.symmetries},
        ),
        launcher=launcher,
    shell:
        "{params.launcher}cohortpose train --config {params.config:q} 2>&1 | tee {log:q}"


rule make_locator_targets:
    input:
        str(RESULTS.labels),
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
        config=CONFIG,
        depends=depends_on(
            versions.MAKE_TARGETS, LOCATOR.what_targets_need(), LOCATOR.individuals
        ),
    shell:
        "cohortpose make-targets --locator --config {params.config:q} 2>&1 | tee {log:q}"


rule train_locator:
    input:
        str(RESULTS.locator_targets),
        pretrained_files(LOCATOR),
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
        config=CONFIG,
        depends=depends_on(
            versions.TRAIN,
            LOCATOR.what_training_needs(),
            {"symmetries": LOCATOR.skeleton.symmetries},
        ),
        launcher=launcher,
    shell:
        "{params.launcher}cohortpose train --locator --config {params.config:q} 2>&1 | tee {log:q}"


rule evaluate:
    input:
        str(RESULTS.labels),
        network_files(),
    output:
        metrics=str(RESULTS.metrics(MODEL)),
        predictions=str(RESULTS.predictions(MODEL)),
    log:
        f"{LOGS}/evaluate-{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate-{MODEL}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(
            versions.EVALUATE,
            SETTINGS.evaluation,
            SETTINGS.inference.runtime,
            locating_settings(),
            assembly_settings(),
        ),
    shell:
        "cohortpose evaluate --config {params.config:q} 2>&1 | tee {log:q}"
