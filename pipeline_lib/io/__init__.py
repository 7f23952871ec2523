"""Read and write videos, labels, targets, poses and exports."""
