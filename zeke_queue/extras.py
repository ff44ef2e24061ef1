"""How what is left out of a plain installation is had."""

from __future__ import annotations


def install(*extras: str) -> str:
    """Return how extras are installed: from a clone, for Zeke is on no package registry yet.

    >>> install("tasks", "embedded")
    'python -m pip install ".[tasks,embedded]" in a clone of Zeke'
    """
    return f'python -m pip install ".[{",".join(extras)}]" in a clone of Zeke'
