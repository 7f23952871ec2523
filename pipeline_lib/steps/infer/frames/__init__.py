"""Read the frames of a video ahead, and find those in which nothing moves."""
