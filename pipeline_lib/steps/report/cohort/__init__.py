"""Describe the cohort as a whole: groups of the sheet, decisions about quality, networks."""
