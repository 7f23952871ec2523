"""Networks: backbone, head, losses, augmentation, data, training module, runtimes."""
