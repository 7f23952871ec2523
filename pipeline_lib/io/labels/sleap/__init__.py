"""Read labels of SLEAP projects."""
