"""Access to the machine: clock, entropy, settings, logging, terminals, waiting, threads, child processes."""
