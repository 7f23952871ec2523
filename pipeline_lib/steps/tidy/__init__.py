"""Run the verb `tidy`: list, and remove, what no key asks for."""
