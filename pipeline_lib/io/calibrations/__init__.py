"""Read and write calibrations of cameras, in the formats of other tools."""
