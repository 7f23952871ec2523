"""Run the verb `evaluate`."""
