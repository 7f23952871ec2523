"""Summarise the poses and tracks of a video."""
