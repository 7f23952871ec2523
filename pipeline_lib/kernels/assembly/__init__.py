"""Assembly of keypoints into individuals."""
