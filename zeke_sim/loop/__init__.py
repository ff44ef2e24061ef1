"""A deterministic event loop, its virtual clock, and the decisions that a run is made of."""
