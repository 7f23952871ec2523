"""Measure the quality of videos and their poses, and decide by the measures of a cohort."""
