"""Frame-exact reading of videos."""
