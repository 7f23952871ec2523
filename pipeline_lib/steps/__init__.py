"""Run the verbs, one module each: read files, call kernels, publish files."""
