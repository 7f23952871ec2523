"""Read frames of cameras of all kinds."""
