# Key files: hashes of the dependencies of each stage.


rule record_keys:
    output:
        touch(NEW_KEYS),
    log:
        f"{LOGS}/record-keys.log",
    localrule: True
    conda:
        "../envs/cohortpose.yaml"
    # A stage has one key file: those of other settings are removed.
    params:
        outdated=lambda wildcards: OUTDATED_KEYS,
    shell:
        "rm -f {params.outdated:q} 2> {log:q}"
