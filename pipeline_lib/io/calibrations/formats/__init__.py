"""Read and write calibrations: one module for each format."""
