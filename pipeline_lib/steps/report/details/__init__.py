"""Prepare what the report shows of each video: its course, and pictures of its worst frames."""
