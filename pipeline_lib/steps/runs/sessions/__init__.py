"""Divide the sessions of a run among shards, and bring their results together."""
