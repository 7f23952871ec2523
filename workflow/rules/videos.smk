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


# Where there may be several individuals, `pose_source` asks for it.
rule track:
    input:
        shard_file("infer", MODEL),
    output:
        shard_file("track", MODEL),
    log:
        f"{LOGS}/track-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/track-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 4
    params:
        config=CONFIG,
        depends=depends_on(
            versions.TRACK, SETTINGS.tracking.what_matters(), SETTINGS.individuals
        ),
    shell:
        "cohortpose track --config {params.config:q} --shard {wildcards.shard} --cores {threads}"
        " > {log:q} 2>&1"


rule filter_poses:
    input:
        pose_source(),
    output:
        shard_file("filter", MODEL),
    log:
        f"{LOGS}/filter-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/filter-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(versions.FILTER, SETTINGS.filtering),
    shell:
        "cohortpose filter --config {params.config:q} --shard {wildcards.shard} > {log:q} 2>&1"


rule export:
    input:
        export_source(),
    output:
        shard_file("export", MODEL),
    log:
        f"{LOGS}/export-{MODEL}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/export-{MODEL}/{{shard}}.tsv"
    conda:
        "../envs/cohortpose.yaml"
    params:
        config=CONFIG,
        depends=depends_on(versions.EXPORT, SETTINGS.exports, *drawn_pairs()),
    shell:
        "cohortpose export --config {params.config:q} --shard {wildcards.shard} > {log:q} 2>&1"
