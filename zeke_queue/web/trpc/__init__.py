"""tRPC: the four procedures of the earlier system, for existing clients."""
