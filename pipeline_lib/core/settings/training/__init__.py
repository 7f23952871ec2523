"""Define settings of a training that are sections of their own."""
