"""The domain's store: its rows as values, its interface, and two equivalent implementations."""
