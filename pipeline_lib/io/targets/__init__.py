"""Stores of what networks learn from: images, score maps, clips without labels."""
