"""The pure decisions of the runtime: no clock, no I/O, no randomness but what is given."""
