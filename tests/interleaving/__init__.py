"""Clients of one Postgres; a seed says whose statement goes next, and what comes of it, memory allows."""
