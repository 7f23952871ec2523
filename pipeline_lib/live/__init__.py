"""Predict the poses of live cameras, record them, and act on them."""
