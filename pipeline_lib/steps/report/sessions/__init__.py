"""The report's panel of sessions of several cameras."""
