"""Hand networks on: write, read and verify bundles, and read networks of other tools."""
