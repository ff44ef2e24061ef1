"""The domain's store: both implementations answer alike."""
