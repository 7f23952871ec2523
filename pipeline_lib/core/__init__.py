"""Define what every layer shares: settings, skeleton, cohort sheet, files on disk, errors."""
