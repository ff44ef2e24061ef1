"""The machine behind one door: clock, entropy, settings, logging, waiting and child processes."""
