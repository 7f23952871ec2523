"""Run the verb `init`."""
