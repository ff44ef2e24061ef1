"""Storages of jobs: one protocol, and two implementations that behave alike."""
