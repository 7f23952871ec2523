"""Drawing of the demo's animals, arena and camera."""
