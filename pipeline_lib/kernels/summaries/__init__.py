"""Summaries of the poses and tracks of a video."""
