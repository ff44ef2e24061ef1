"""The domain's store: its rows as values, what tasks ask of it, and two implementations that answer alike."""
