"""Run the verb `track`."""
