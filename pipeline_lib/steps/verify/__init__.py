"""Run the verb `verify`."""
