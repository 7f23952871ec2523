"""Writers of poses for other tools."""
