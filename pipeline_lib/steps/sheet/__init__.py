"""Make and extend cohort sheets from the files of folders."""
