"""Measure labelled poses, and choose the settings that follow from them."""
