"""Networks of other tools: read without running anything, and packed as bundles."""
