# From videos to poses, shard by shard.


rule probe:
    input:
        manifest_key,
        key_file("probe"),
        result_key("probe"),
    output:
        table("probe"),
    log:
        f"{LOGS}/probe/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/probe/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("probe"),
        config=settings_file,
    shell:
        "cohortpose probe --config {params.config:q} --shard {wildcards.shard} > {log:q} 2>&1"


rule select_frames:
    input:
        table("probe"),
        key_file("select-frames"),
        result_key("select_frames"),
    output:
        table("select-frames"),
    log:
        f"{LOGS}/select-frames/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/select-frames/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        *list_settings("select-frames"),
        config=settings_file,
    shell:
        "cohortpose select-frames --config {params.config:q} --shard {wildcards.shard}"
        " > {log:q} 2>&1"


rule infer:
    input:
        table("probe"),
        network_files(),
        precision_file(),
        key_file("infer"),
        result_key("infer"),
    output:
        # Not the poses: Snakemake would delete them before a retry.
        table("infer"),
    log:
        f"{LOGS}/infer-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/infer-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 64
    params:
        *list_settings("infer"),
        config=settings_file,
    shell:
        "cohortpose infer --config {params.config:q} --shard {wildcards.shard} --cores {threads}"
        " 2>&1 | tee {log:q}"


# One job for all verbs: on a cluster, a job for each would mostly wait in the queue. At last the
# videos of the shard are measured for the report, which then only puts them together.
rule postprocess:
    input:
        table("infer"),
        *[key_file(verb) for verb in POSTPROCESSING],
        session_key,
        decision_key,
        result_key("postprocess"),
    output:
        [table(verb) for verb in POSTPROCESSING],
    log:
        f"{LOGS}/postprocess-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/postprocess-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    # Only this one uses several threads.
    threads: 4 if "track" in POSTPROCESSING else 1
    params:
        *list_settings(*POSTPROCESSING),
        config=settings_file,
        verbs=POSTPROCESSING,
    shell:
        "(for verb in {params.verbs} report; do cohortpose $verb --config {params.config:q}"
        " --shard {wildcards.shard} --cores {threads}; done) > {log:q} 2>&1"


if STAGES["render"].wanted(SETTINGS):

    # Clips show the seconds that offend, which `judge` tells once all videos are measured.
    rule render:
        input:
            table("filter"),
            judged_files(),
            key_file("render"),
            result_key("render"),
        output:
            table("render"),
        log:
            f"{LOGS}/render-{MODEL}/{{shard}}.log",
        benchmark:
            f"{BENCHMARKS}/render-{MODEL}/{{shard}}.tsv"
        conda:
            "../envs/cohortpose.yaml"
        threads: 4
        params:
            *list_settings("render"),
            config=settings_file,
        shell:
            "cohortpose render --config {params.config:q} --shard {wildcards.shard}"
            " --cores {threads} > {log:q} 2>&1"
