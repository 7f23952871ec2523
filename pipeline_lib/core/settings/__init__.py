"""Define the settings of a run: one module per subject, read and checked in one place."""
