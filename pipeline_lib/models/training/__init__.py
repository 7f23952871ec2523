"""Training of a network and its export."""
