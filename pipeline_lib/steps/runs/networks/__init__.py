"""Checks of the networks that a run starts from, before it starts."""
