"""Vocabulary shared by every layer: settings, skeleton, cohort sheet, files on disk, errors."""
