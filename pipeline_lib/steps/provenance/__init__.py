"""Record the provenance of results."""
