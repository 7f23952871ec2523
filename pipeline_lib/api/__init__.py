"""Functions of the public API: `pipeline_lib` offers them under its own name."""
