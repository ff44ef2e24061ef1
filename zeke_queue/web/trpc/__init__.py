"""tRPC: the four procedures of the earlier system, for clients that stay as they are."""
