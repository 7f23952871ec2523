"""Settings of what is made of poses: kinematics, labelled videos, quality, costs."""
