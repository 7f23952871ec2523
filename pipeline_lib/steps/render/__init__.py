"""Run the verb `render`."""
