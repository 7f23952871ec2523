"""Kernels of ensembles: medians over their members, regions of confidence, smoothing."""
