"""Zeke's catalog: its store, its tasks, its demo."""
