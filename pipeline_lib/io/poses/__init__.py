"""Read and write pose files."""
