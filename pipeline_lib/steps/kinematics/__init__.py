"""Run the verb `kinematics`."""
