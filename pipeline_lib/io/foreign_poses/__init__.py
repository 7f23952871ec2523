"""Read poses that other tools found in a video: one module per format."""
