"""Calibrate cameras from images of a board, judge calibrations, draw boards."""
