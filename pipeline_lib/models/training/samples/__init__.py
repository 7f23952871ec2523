"""Samples that networks learn from: reading, augmentation, targets."""
