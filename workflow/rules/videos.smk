# From videos to poses, shard by shard.


rule probe:
    input:
        shard_file("manifest"),
    output:
        shard_file("probe"),
    log:
        f"{LOGS}/probe/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/probe/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(versions.PROBE),
    shell:
        "cohortpose probe --config {params.config:q} --shard {wildcards.shard} > {log:q} 2>&1"


rule select_frames:
    input:
        shard_file("probe"),
    output:
        shard_file("frames"),
    log:
        f"{LOGS}/select-frames/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/select-frames/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(versions.SELECT_FRAMES, SETTINGS.frames),
    shell:
        "cohortpose select-frames --config {params.config:q} --shard {wildcards.shard}"
        " > {log:q} 2>&1"


rule infer:
    input:
        shard_file("probe"),
        network_files(),
    output:
        # Not the poses: Snakemake would delete them before a retry.
        shard_file("infer", MODEL),
    log:
        f"{LOGS}/infer-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/infer-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 64
    params:
        config=CONFIG,
        depends=depends_on(
            versions.INFER,
            SETTINGS.inference.what_matters(),
            locating_settings(),
            assembly_settings(),
        ),
    shell:
        "cohortpose infer --config {params.config:q} --shard {wildcards.shard} --cores {threads}"
        " 2>&1 | tee {log:q}"


# One job and not one for each verb: on a cluster most of it would be the wait for its turn.
rule postprocess:
    input:
        shard_file("infer", MODEL),
    output:
        [shard_file(verb, MODEL) for verb in POSTPROCESSING],
    log:
        f"{LOGS}/postprocess-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/postprocess-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    # Only tracking makes use of several.
    threads: 4 if "track" in POSTPROCESSING else 1
    params:
        config=CONFIG,
        verbs=list(POSTPROCESSING),
        depends=list(POSTPROCESSING.values()),
    shell:
        "(for verb in {params.verbs}; do cohortpose $verb --config {params.config:q}"
        " --shard {wildcards.shard} --cores {threads}; done) > {log:q} 2>&1"
