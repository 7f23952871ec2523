"""Read labels of Label Studio."""
