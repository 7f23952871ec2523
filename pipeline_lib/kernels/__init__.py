"""Pure functions of arrays: no files, no settings objects, no state."""
