"""The report's panels of iterations, label errors and proofreading."""
