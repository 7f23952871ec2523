"""Compute with sessions: moments, individuals of several views, and points over time."""
