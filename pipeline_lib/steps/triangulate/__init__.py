"""Triangulate sessions: from the poses of several cameras to poses in three dimensions."""
