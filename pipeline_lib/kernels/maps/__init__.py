"""Draw score maps, location refinement and part affinity fields, and find their peaks."""
