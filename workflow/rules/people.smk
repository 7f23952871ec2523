# For people: asked for by name, part of no run.


rule demo:
    output:
        "demo/cohort.tsv",
        "demo/config.yaml",
    log:
        f"{LOGS}/demo.log",
    conda:
        "../envs/cohortpose.yaml"
    shell:
        "cohortpose demo demo 2>&1 | tee {log:q}"


rule init:
    # A new project from the first labels that the config names, else from its videos' folder.
    output:
        "init/config.yaml",
        "init/cohort.tsv",
    log:
        f"{LOGS}/init.log",
    conda:
        "../envs/cohortpose.yaml"
    params:
        source=init_source(),
    shell:
        "cohortpose init {params.source:q} init 2>&1 | tee {log:q}"
