"""Record poses and video so that a kill at any moment loses nothing."""
