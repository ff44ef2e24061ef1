"""The Python client, against the real application over both storages."""
