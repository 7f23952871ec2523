"""Predict poses: runtimes, preprocessing and decoding."""
