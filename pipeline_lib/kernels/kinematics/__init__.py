"""Measure movement: derivatives, distances, angles, regions of interest, bouts, bins of time."""
