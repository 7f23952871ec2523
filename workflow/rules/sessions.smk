# From the poses of several cameras to poses in space, by session.


rule calibrate:
    input:
        key_file("calibrate"),
        lost_key("calibrate"),
    output:
        # Not the calibrations: Snakemake would delete them before a retry.
        reported(
            RESULTS.calibrations,
            "Three dimensions",
            "calibrations",
            "every calibration",
        ),
    log:
        f"{LOGS}/calibrate.log",
    benchmark:
        f"{BENCHMARKS}/calibrate.tsv"
    conda:
        "../envs/cohortpose.yaml"
    threads: 8
    params:
        *list_settings("calibrate"),
        config=settings_file,
    shell:
        "cohortpose calibrate --config {params.config:q} --cores {threads} > {log:q} 2>&1"


# A session belongs to the lowest-numbered shard of its videos.
if SESSION_VERBS:

    rule triangulate:
        input:
            session_sources,
            # The key of the views names the calibrations that the sessions use.
            ancient(str(RESULTS.calibrations)),
            *[key_file(verb) for verb in SESSION_VERBS],
            view_key,
            session_result_key,
        output:
            [table(verb) for verb in SESSION_VERBS],
        log:
            f"{LOGS}/triangulate-{MODEL}/{{shard}}.log",
        benchmark:
            f"{BENCHMARKS}/triangulate-{MODEL}/{{shard}}.tsv"
        conda:
            "../envs/cohortpose.yaml"
        threads: 8
        params:
            *list_settings(*SESSION_VERBS),
            config=settings_file,
            verbs=SESSION_VERBS,
        shell:
            "(for verb in {params.verbs}; do cohortpose $verb --config {params.config:q}"
            " --shard {wildcards.shard} --cores {threads}; done) > {log:q} 2>&1"
