"""Triangulate sessions: the poses of several cameras become poses in space."""
