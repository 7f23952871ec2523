"""Sum up what videos, groups and a run used, and price it."""
