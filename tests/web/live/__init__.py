"""Live streams: what is sent, and what they cost."""
