"""Define the network: backbone, heads and losses."""
