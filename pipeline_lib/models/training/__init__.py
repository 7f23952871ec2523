"""Train a network and export it."""
