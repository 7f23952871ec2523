"""Prediction of poses: runtimes, preprocessing and decoding."""
