"""The verb `track`."""
