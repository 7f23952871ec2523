"""Write the poses of sessions, in three dimensions, for other tools: one module per format."""
