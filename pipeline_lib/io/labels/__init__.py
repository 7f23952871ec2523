"""Read labelled projects, and define the table that labels are stored in."""
