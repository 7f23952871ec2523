"""Detect, check and open the containers of videos; nothing is decoded."""
