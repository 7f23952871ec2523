"""Registries of the formats of other tools: one record for each."""
