# The door: everything is in workflow/Snakefile. Snakemake finds this file first.
include: "workflow/Snakefile"


rule everything:
    default_target: True
    input:
        rules.all.input,
