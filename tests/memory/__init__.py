"""What the memory storage has beyond the protocol, for simulations and the model test."""
