"""Verify a run: the verb `verify`."""
