"""Run the verb `make-targets`."""
