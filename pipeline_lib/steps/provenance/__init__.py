"""The record of what made the results."""
