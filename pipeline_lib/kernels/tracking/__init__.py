"""Follow individuals: from poses of single frames to tracks."""
