"""What happened in a run: events, how they are recorded, and the state that follows from them."""
