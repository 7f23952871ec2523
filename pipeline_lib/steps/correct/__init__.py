"""Run the verb `correct`."""
