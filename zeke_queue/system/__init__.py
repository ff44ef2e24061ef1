"""Access to the machine: clock, entropy, settings, logging, waiting, loops in threads, child processes."""
