"""Errors of keypoints, individuals and tracks."""
