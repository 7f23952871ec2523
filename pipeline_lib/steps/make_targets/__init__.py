"""The verb `make-targets`."""
