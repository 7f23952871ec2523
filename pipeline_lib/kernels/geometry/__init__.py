"""Compute with cameras: lenses, projection, triangulation and bundle adjustment."""
