"""Run the verb `multiqc`."""
