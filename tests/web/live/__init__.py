"""Live streams: their events, and their cost."""
