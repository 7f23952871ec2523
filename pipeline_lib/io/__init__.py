"""Readers and writers: videos, labels, targets, poses, exports."""
