"""Fetching and reading the web: on loopback or without sockets, never anywhere else."""
