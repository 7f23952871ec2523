"""Read labels in COCO keypoints JSON."""
