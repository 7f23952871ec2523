"""Measure errors of keypoints, individuals and tracks."""
