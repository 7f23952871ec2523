"""Read videos frame by frame, exactly."""
