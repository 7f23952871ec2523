"""Run the verb `choose-precision`."""
