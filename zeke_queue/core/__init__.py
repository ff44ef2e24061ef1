"""The pure decisions of the runtime: no clock, no I/O, and randomness only as an argument."""
