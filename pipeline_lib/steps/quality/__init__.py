"""Run the verbs `quality`, `judge` and `rerun`."""
