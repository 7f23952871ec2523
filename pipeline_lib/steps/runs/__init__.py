"""Runs: their plan, their keys, how they start, what is fresh, and how every video stands."""
