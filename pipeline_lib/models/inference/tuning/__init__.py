"""Measure how fast networks run here, and make them faster."""
