# Snakemake finds this file first; everything else is in workflow/Snakefile.
include: "workflow/Snakefile"


rule everything:
    default_target: True
    input:
        rules.all.input,
