"""Cameras, boards, sessions of several cameras, and their poses."""
