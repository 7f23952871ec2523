"""Run the verbs `write-label-project` and `merge-labels`."""
