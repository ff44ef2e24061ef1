"""Access to the machine: clock, entropy, settings, logging, waiting and child processes."""
