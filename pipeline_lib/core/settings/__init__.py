"""The settings of a run: one module for each subject, read and checked in one place."""
