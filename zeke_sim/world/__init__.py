"""A simulated world: processes, their database and network, and the faults that hit them."""
