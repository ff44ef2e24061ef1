"""Helpers for the tests of the worker: an environment, storages that fail, and tasks in modules."""
