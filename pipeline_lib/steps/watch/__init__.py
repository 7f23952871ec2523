"""Run the verb `watch`: take new videos of an incoming folder once they are whole."""
