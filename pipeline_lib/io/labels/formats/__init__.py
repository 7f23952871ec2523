"""Label formats, one module each: whether a path is in it, which files it reads, and its reader."""
