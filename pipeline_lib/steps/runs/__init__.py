"""Manage runs: plan, keys, start and end, cache, and the status of every video."""
