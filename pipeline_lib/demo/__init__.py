"""Render the demo cohort, with exact truth."""
