"""Find the frames of a cohort that a network fails on: scores, and the choice among frames."""
