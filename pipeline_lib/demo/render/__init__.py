"""Render the demo's animals and arena as cameras see them."""
