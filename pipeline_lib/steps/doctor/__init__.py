"""Run the verb `doctor`: check the machine, and say what to repair."""
