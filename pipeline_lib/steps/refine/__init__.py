"""The verb `refine`: choose the frames of the whole cohort that are worth labelling next."""
