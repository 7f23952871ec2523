"""Write labelling projects for people who correct frames in another tool."""
