"""Read and write one format of calibrations each."""
