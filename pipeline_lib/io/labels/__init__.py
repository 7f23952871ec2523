"""Readers of labelled projects, and the table that labels are stored in."""
