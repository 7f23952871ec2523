"""The network: backbone, heads and losses."""
