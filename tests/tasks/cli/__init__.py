"""The catalog's commands as a user calls them, on a real database."""
