"""Clients in Node that must work unchanged, against the whole system: ``python -m tests.interop``."""
