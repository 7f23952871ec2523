"""Assemble keypoints into individuals."""
