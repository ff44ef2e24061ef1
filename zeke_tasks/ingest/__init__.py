"""The tasks that turn sources into raw items."""
