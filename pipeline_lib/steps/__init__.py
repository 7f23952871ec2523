"""One module per verb: read files, call kernels, publish files."""
