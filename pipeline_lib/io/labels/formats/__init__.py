"""Read label formats, one module each: detection, list of files, and reader."""
