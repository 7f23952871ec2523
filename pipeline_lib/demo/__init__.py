"""The rendered demo cohort, with exact truth."""
