"""Proofreading of tracks: doubts, and decisions that correct tracks."""
