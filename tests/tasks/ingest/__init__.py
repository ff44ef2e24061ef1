"""The tasks that take things in."""
