"""Run the verb `export`."""
