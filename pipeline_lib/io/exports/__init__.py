"""Write poses for other tools."""
