"""Tracking: from poses of single frames to tracks of individuals."""
