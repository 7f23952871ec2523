"""Readers of other tools' detections: keypoints before they are assembled into individuals."""
