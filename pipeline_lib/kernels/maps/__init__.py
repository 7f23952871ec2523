"""Score maps, location refinement, part affinity fields and their peaks."""
