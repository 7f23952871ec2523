"""cohortpose: poses you can trust for whole cohorts of animal videos."""

__version__ = "0.1.0"
