"""Read other tools' detections: keypoints before their assembly into individuals."""
