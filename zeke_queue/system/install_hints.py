"""What people are told to type: commands that work as they stand, on the database that they use.

Of the options that name a database, ``--embedded`` is repeated. ``--database`` is not, for it may hold a
password, and neither is ``--schema``: whoever gave them gives them again.
"""

from __future__ import annotations


def install(*extras: str) -> str:
    """Return how extras are installed: from a clone, for Zeke is on no package registry yet.

    >>> install("tasks", "embedded")
    'python -m pip install ".[tasks,embedded]" in a clone of Zeke'
    """
    return f'python -m pip install ".[{",".join(extras)}]" in a clone of Zeke'


def on_same(command: str, *, embedded: bool) -> str:
    """Return a command as it is typed for the database on which this one works.

    Args:
        command: as it is for the database of the environment.
        embedded: whether this one was given ``--embedded``.

    >>> on_same("zeke stories", embedded=True)
    'zeke stories --embedded'
    """
    return f"{command} --embedded" if embedded else command
