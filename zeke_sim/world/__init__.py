"""A simulated world: processes, their database and network, and injected faults."""
